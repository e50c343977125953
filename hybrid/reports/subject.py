"""What a report of a fitted hybrid model is about: its rows, their probabilities, slices and groups, checked before any long work."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from features.frames import Frame, closest
from hybrid.errors import LabelError, ParameterError
from hybrid.reports.history import history_slices
from hybrid.reports.importance import OnStep
from hybrid.reports.inference import renumbered
from hybrid.reports.slices import parts_of

if TYPE_CHECKING:
    from hybrid.classifier import HybridClassifier

BLOCK_ROWS = 131_072
"""Rows that are scored at once: their matrix is all that is held of them."""


def require_column(frame: pl.DataFrame, name: str, what: str) -> None:
    """Raise ParameterError for a column that the examples lack."""
    if name not in frame.columns:
        raise ParameterError(f"{what} names {name!r}; examples has no column {name!r}{closest(name, frame.columns)}")


def row_groups(frame: pl.DataFrame, declared: Any) -> np.ndarray | None:
    """Codes 0 .. n_groups - 1 of what counts as one; a row without an id is a group of its own.

    Parameters
    ----------
    frame : polars.DataFrame
    declared : str, array-like of shape (n_rows,) or None
        A column, or the ids.
    """
    if declared is None:
        return None
    if isinstance(declared, str):
        require_column(frame, declared, "groups_of_rows")
        ids = frame[declared]
    else:
        ids = declared if isinstance(declared, pl.Series) else pl.Series(np.asarray(declared).tolist())
        if len(ids) != frame.height:
            raise ParameterError(f"groups_of_rows has {len(ids):,} values for {frame.height:,} rows")
    codes = ids.rank("dense").cast(pl.Int64)
    n_ids = codes.max() or 0
    alone = pl.int_range(frame.height, eager=True) + n_ids + 1
    return renumbered(codes.fill_null(alone).to_numpy())


def with_events(model: HybridClassifier, events: Frame | None) -> HybridClassifier:
    """The model over another log; itself without one. Read once, however many blocks of rows follow."""
    model.check_events(events, required=False)
    if events is None:
        return model
    over = copy.copy(model)
    over.builder_ = copy.copy(model.builder_)
    over.builder_.replace_log(events)
    return over


def probabilities(model: HybridClassifier, frame: pl.DataFrame, on_block: OnStep | None = None) -> np.ndarray:
    """The model's probabilities of all rows, a block of them at a time."""
    blocks = []
    for start in range(0, frame.height, BLOCK_ROWS):
        block = frame[start : start + BLOCK_ROWS]
        blocks.append(model.booster_.predict_proba(model.matrix(block)))
        if on_block:
            on_block(start + block.height, frame.height)
    return np.concatenate(blocks)


def fingerprint(frame: pl.DataFrame, codes: np.ndarray, columns: Sequence[str]) -> str:
    """The beginning of a SHA-256 of the values that a model reads and of the labels, row by row; of one Polars version."""
    digest = hashlib.sha256(json.dumps(list(columns)).encode())
    digest.update(frame.select(columns).hash_rows().to_numpy().tobytes())
    digest.update(np.ascontiguousarray(codes).tobytes())
    return digest.hexdigest()[:16]


def baseline_probabilities(
    model: HybridClassifier, frame: pl.DataFrame, events: Frame | None, baseline: Any
) -> dict[str, np.ndarray]:
    """Probabilities of other models for the same rows, by name.

    Parameters
    ----------
    model : HybridClassifier
        Whose classes the others must have.
    frame : polars.DataFrame
    events : frame, optional
        In place of the fitted log of baselines that read behaviour.
    baseline : HybridClassifier, mapping from name to HybridClassifier or array of shape (n_rows, n_classes), or None

    Raises
    ------
    LabelError
        A baseline with other classes, or for other rows.
    """
    if baseline is None:
        return {}
    named: Mapping[str, Any] = baseline if isinstance(baseline, Mapping) else {"baseline": baseline}
    for name, other in named.items():
        if isinstance(other, type(model)):
            if not np.array_equal(other.classes_, model.classes_):
                raise LabelError(
                    f"baseline {name!r} knows the classes {other.classes_.tolist()}, the model {model.classes_.tolist()}"
                )
            other.builder_.check(frame, "examples")
        elif hasattr(other, "predict_proba"):
            raise ParameterError(
                f"baseline {name!r} is a {type(other).__name__}: give a HybridClassifier, or the probabilities that it predicts"
            )
        elif np.shape(other) != (frame.height, len(model.classes_)):
            raise LabelError(
                f"baseline {name!r}: probabilities of shape {np.shape(other)} for {frame.height:,} rows and "
                f"{len(model.classes_)} classes"
            )
    return {
        name: probabilities(with_events(other, events if other.behavior is not None else None), frame)
        if isinstance(other, type(model))
        else np.asarray(other)
        for name, other in named.items()
    }


def shown_texts(model: HybridClassifier, frame: pl.DataFrame, names: Sequence[str]) -> list[pl.Series]:
    """The columns that the user declares showable; ParameterError for one that is not there, or that names users or sessions."""
    if isinstance(names, str):
        raise ParameterError(f"show_texts={names!r} must be a list of columns: [{names!r}]")
    for name in names:
        _require_showable(model, frame, name, "show_texts")
    return [frame[name] for name in names]


def query_codes(frame: pl.DataFrame, query: str | None) -> np.ndarray | None:
    """Codes 0 .. n_queries - 1 of the rows that are ranked at once; nulls are rows of their own."""
    if query is None:
        return None
    require_column(frame, query, "query")
    return row_groups(frame, frame[query])


def showable_categories(model: HybridClassifier) -> dict[str, list[str]]:
    """The values of the categorical columns, less those of users and sessions."""
    log = None if model.behavior is None else model.behavior.log
    hidden = set() if log is None else {log.user, log.session}
    return {name: values for name, values in model.builder_.categories.items() if name not in hidden}


def _require_showable(model: HybridClassifier, frame: pl.DataFrame, name: str, what: str) -> None:
    require_column(frame, name, what)
    log = None if model.behavior is None else model.behavior.log
    if log is not None and name in (log.user, log.session):
        raise ParameterError(
            f"{what} names {name!r}, which tells single users or sessions apart; the page must not show them"
        )


def declared_slices(model: HybridClassifier, frame: pl.DataFrame, names: Sequence[str]) -> list[pl.Series]:
    """The slices that the user names, after those that the log makes, each cut into parts.

    Raises
    ------
    ParameterError
        A column that is not there, that holds lists, or that names users or sessions: a page must not name them.
    """
    if isinstance(names, str):
        raise ParameterError(f"slices={names!r} must be a list of columns: [{names!r}]")
    for name in names:
        _require_showable(model, frame, name, "slices")
        if frame[name].dtype.is_nested():
            raise ParameterError(
                f"slices names {name!r}, which holds {frame[name].dtype}: name a column of single values"
            )
    behavior = model.builder_.evidence.behavior
    made = [] if behavior is None else history_slices(behavior, frame)
    return [*(part for part in made if part.name not in names), *(parts_of(frame[name]) for name in names)]
