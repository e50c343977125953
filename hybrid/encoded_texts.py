"""The texts of rows, by role, with their vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from hybrid.encoder import Embedded, TextEncoder


@dataclass(frozen=True)
class EncodedTexts:
    """The texts of each role, one a row, and their vectors.

    Parameters
    ----------
    texts : mapping from role to polars.Series of String, shape (n_rows,)
    embedded : mapping from role to Embedded
    encoder : TextEncoder or None, default None
        What made the vectors; only a head with tuned layers needs it.
    """

    texts: Mapping[str, pl.Series]
    embedded: Mapping[str, Embedded]
    encoder: TextEncoder | None = None

    def rows(self, index: np.ndarray) -> EncodedTexts:
        """Those of some rows; vectors are shared."""
        return replace(
            self,
            texts={role: text.gather(index) for role, text in self.texts.items()},
            embedded={role: Embedded(one.vectors, one.index[index]) for role, one in self.embedded.items()},
        )
