"""Vectors of ids, by the texts that a role gives them: what behaviour features declared with ``vectors="text"`` read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from features import BehaviorFeatures
from features.event_log import key_values
from features.vectors import TEXT, VectorFamily, unit
from hybrid.encoder import TextEncoder
from hybrid.errors import ParameterError
from hybrid.texts import role_text


class TextVectors:
    """Vectors of the values of a role's key column: of queries, or of items by their titles.

    The text of an id is the first that events or examples give it; an id that none of them has a text for is a text itself, as a query
    is.

    Parameters
    ----------
    encoder : TextEncoder
    role : str
        Also the key part ("query", "item").
    id_column : str
    text_columns : tuple of str
    device : str
    texts : polars.DataFrame, optional
        What is known already, columns ``id`` and ``text``.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        role: str,
        id_column: str,
        text_columns: tuple[str, ...],
        device: str,
        texts: pl.DataFrame | None = None,
    ) -> None:
        self.role = role
        self.texts = texts
        self._encoder = encoder
        self._id_column = id_column
        self._text_columns = text_columns
        self._device = device

    def learn(self, frame: pl.DataFrame, what: str) -> None:
        """Take in the texts of ids that are not known yet, where the frame has them."""
        columns = {self._id_column, *self._text_columns}
        if columns == {self._id_column} or not columns <= set(frame.columns):
            return
        ids = key_values(frame[self._id_column], what).alias("id")
        found = pl.DataFrame([ids, role_text(frame, self._text_columns, what)]).drop_nulls()
        known = found if self.texts is None else pl.concat([self.texts, found], how="vertical_relaxed")
        self.texts = known.unique("id", keep="first", maintain_order=True)

    def of(self, ids: pl.Series) -> np.ndarray:
        """Unit vectors of ids, float32 of shape (n_ids, dimension); the zero vector for null."""
        text = ids.cast(pl.String)
        if self.texts is not None and ids.dtype == self.texts["id"].dtype:
            named = ids.replace_strict(self.texts["id"], self.texts["text"], default=None, return_dtype=pl.String)
            text = named.fill_null(text)
        embedded = self._encoder.encode_distinct(text, role=self.role, device=self._device)
        return unit(embedded.vectors.cpu().numpy()[embedded.index])


def text_vectors(
    behavior: BehaviorFeatures,
    encoder: TextEncoder | None,
    roles: Mapping[str, tuple[str, ...]],
    device: str,
    texts: Mapping[str, pl.DataFrame] | None = None,
) -> dict[str, TextVectors]:
    """What ``vectors="text"`` stands for in fitted features, by part: of the text role of that name, with the texts known so far."""
    vectors = {}
    for part in _text_parts(behavior, roles):
        assert encoder is not None  # where there are roles there is an encoder
        column = behavior.log.columns_of((part,))[0]
        vectors[part] = TextVectors(encoder, part, column, roles[part], device, (texts or {}).get(part))
    return vectors


def _text_parts(behavior: BehaviorFeatures, roles: Iterable[str]) -> list[str]:
    """The key parts whose text vectors some family reads, each once; ParameterError for one that is no text role."""
    parts = dict.fromkeys(
        family.part
        for family in behavior.families_
        if isinstance(family, VectorFamily) and isinstance(family.vectors, str)
    )
    for part in parts:
        if part not in roles:
            raise ParameterError(
                f'a family of behaviour features reads vectors="{TEXT}" of {part!r}, which is no text role of the model: '
                f"declare text={{{part!r}: ...}}, or give the family a table or an encoder"
            )
    return list(parts)
