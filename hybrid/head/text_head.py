"""The text head as a user declares it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from features.frames import closest
from hybrid.errors import ParameterError

_SIZES = {1: (256, 256, 0.3), 2: (128, 64, 0.65)}  # hidden units, dimensions of word vectors, dropout


@dataclass(frozen=True, kw_only=True)
class TextHead:
    """A small network over the vectors of one text, or over ``[q, t, q * t, |q - t|]`` of two, and a linear model beside it.

    Parameters
    ----------
    roles : sequence of one or two roles, optional
        Default the first two that the model declares, or the one.
    hidden : int, optional
        Units of the hidden layer; 0 for a linear head. Default 256 for one text, 128 for two, whose inputs are four times as wide.
    words : int, optional
        Dimensions of the vectors of hashed n-grams (words and characters) that stand beside the encoder's; 0 for none. Default 256 for
        one text, 64 for two: more would learn the training queries by heart.
    wide : bool, optional
        Whether a linear model over the n-grams themselves stands beside the network, and their logits are added. Of one text only; default
        True for one text.
    dropout : float in [0, 1), optional
        Share of inputs and of hidden units that a step leaves out. Default 0.3 for one text, 0.65 for two.
    learning_rate : float, default 0.0025
        Of AdamW.
    weight_decay : float, default 0.1
    tuned_layers : int, default 0
        Upper layers of the encoder that are trained with the head, in each fold apart; 0 leaves the encoder as it is. A second network,
        whose logits are added to those of the first: it reads the text, or both texts as one sequence, so that words of one can
        attend to words of the other (a cross-encoder); 128 tokens at most. Five to ten minutes for 4,000 pairs on one core, and new
        rows cost a pass through the encoder that no store spares. Rows of the same texts and class are trained on as one. Needs an
        encoder that is a name or a folder.
    start : str or path, optional
        A saved model on the same encoder whose head tuned as many layers, to other classes if you like: the training of the tuned layers
        starts from that model's. It must not have seen the rows that are fitted, whose labels would leak into the out-of-fold
        logits. Read in ``fit`` alone.
    token_masking : float in [0, 0.5], default 0.0
        Share of tokens that the encoder's mask token replaces in each step of the training of tuned layers, others each time (X. Xu et al.,
        "Token masking improves transformer-based text classification", 2025); the training is longer by as much.
    tuned_epochs : int, optional
        Passes of that training over its rows. Default 3, of more than 20,000 rows fewer, of few more, and with hidden tokens as many more
        as let it see as many.
    tuned_embeddings : bool, default False
        Whether the embeddings of tokens that occur three times or more in the training texts are trained with the layers. It suits one text
        whose single words decide.
    folds : int, default 5
        Of the out-of-fold logits.
    max_rows : int, default 100,000
        Rows drawn to be learned from; all rows get logits.
    """

    roles: Sequence[str] | None = None
    hidden: int | None = None
    words: int | None = None
    wide: bool | None = None
    dropout: float | None = None
    learning_rate: float = 0.0025
    weight_decay: float = 0.1
    tuned_layers: int = 0
    start: str | os.PathLike[str] | None = None
    token_masking: float = 0.0
    tuned_epochs: int | None = None
    tuned_embeddings: bool = False
    folds: int = 5
    max_rows: int = 100_000

    def __post_init__(self) -> None:
        if self.roles is not None:
            object.__setattr__(self, "roles", tuple(self.roles))
            if isinstance(self.roles, str) or not 1 <= len(self.roles) <= 2 or len(set(self.roles)) < len(self.roles):
                raise ParameterError(f"roles of a text head must be a list of one or two roles, not {self.roles!r}")
        least_of = {"hidden": 0, "words": 0, "tuned_layers": 0, "tuned_epochs": 1, "folds": 2, "max_rows": 100}
        for name, least in least_of.items():
            value = getattr(self, name)
            if name in ("hidden", "words", "tuned_epochs") and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ParameterError(f"{name} of a text head must be a whole number of at least {least}, not {value!r}")
        if self.start is not None:
            if not isinstance(self.start, str | os.PathLike) or not self.tuned_layers:
                raise ParameterError(
                    f"start={self.start!r} of a text head must be the folder of a saved model, and needs tuned_layers"
                )
            object.__setattr__(self, "start", os.fspath(self.start))  # which JSON can hold
        if not 0 <= self.token_masking <= 0.5 or (self.token_masking and not self.tuned_layers):
            raise ParameterError(
                f"token_masking={self.token_masking!r} of a text head must lie in [0, 0.5], and needs tuned_layers"
            )
        if self.tuned_epochs and not self.tuned_layers:
            raise ParameterError(f"tuned_epochs={self.tuned_epochs} of a text head needs tuned_layers")
        if not isinstance(self.tuned_embeddings, bool) or (self.tuned_embeddings and not self.tuned_layers):
            raise ParameterError(
                f"tuned_embeddings={self.tuned_embeddings!r} of a text head must be True or False, and needs tuned_layers"
            )
        if self.wide is not None and not isinstance(self.wide, bool):
            raise ParameterError(f"wide of a text head must be True, False or None, not {self.wide!r}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ParameterError(f"dropout of a text head must lie in [0, 1), not {self.dropout!r}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ParameterError(
                f"learning_rate={self.learning_rate!r} of a text head must be greater than 0, and "
                f"weight_decay={self.weight_decay!r} at least 0"
            )

    def sized(self, n_texts: int) -> TextHead:
        """With the defaults for one text or for two."""
        if self.wide and n_texts == 2:
            raise ParameterError(
                "wide of a text head is for one text: of two it would learn the training pairs by heart"
            )
        hidden, words, dropout = _SIZES[n_texts]
        return replace(
            self,
            hidden=hidden if self.hidden is None else self.hidden,
            words=words if self.words is None else self.words,
            wide=n_texts == 1 if self.wide is None else self.wide,
            dropout=dropout if self.dropout is None else self.dropout,
        )

    def read(self, declared: Sequence[str]) -> tuple[str, ...]:
        """The roles that the head reads, of those that a model declares."""
        if self.roles is None:
            return tuple(declared)[:2]
        for role in self.roles:
            if role not in declared:
                raise ParameterError(f"the text head reads {role!r}, which is no text role{closest(role, declared)}")
        return tuple(self.roles)
