"""What a study is about: examples, labels, events, folds and a metric, checked before any long work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from features.event_log import microseconds
from features.frames import Frame, closest, require_columns, to_polars
from hybrid import HybridClassifier, TextEncoder
from hybrid.errors import ParameterError
from hybrid.labels import as_labels, encode
from hybrid.metrics import Metric
from hybrid.metrics import metric as find_metric
from tuning.errors import FoldError
from tuning.folds import Fold, check_folds, check_kind, given_folds, group_folds, stratified_folds, time_folds
from tuning.space import MORE, TREES, SearchSpace, groups

_HASHED_ROWS = 65_536
_TUNED = {*TREES, *MORE, "booster", "head", "without"}
_WITHOUT_EFFECT = {"device", "n_jobs", "eval_metric"}
"""Parameters of the model that change no trial: where and how fast it trains, and the metric that the study's own replaces."""


@dataclass(frozen=True, eq=False)
class Task:
    """The examples of a study and how models of them are judged.

    Parameters
    ----------
    model : HybridClassifier
        Unfitted, with the parameters of the model that is tuned.
    examples : polars.DataFrame
    labels : numpy.ndarray, shape (n_rows,)
    codes : numpy.ndarray of int64, shape (n_rows,)
        Positions of the labels in ``classes``.
    classes : numpy.ndarray
    events : frame or None
    metric : Metric
    cv : str
        How the folds were made: "time", "group", "stratified" or "given".
    folds : tuple of Fold
    row_groups : numpy.ndarray of int64, shape (n_rows,), or None
        What ``cv="group"`` keeps together.
    times : numpy.ndarray of int64, shape (n_rows,), or None
        Timestamps, where ``cv="time"`` or the model's log gives them.
    """

    model: HybridClassifier
    examples: pl.DataFrame
    labels: np.ndarray
    codes: np.ndarray
    classes: np.ndarray
    events: Frame | None
    metric: Metric
    cv: str
    folds: tuple[Fold, ...]
    row_groups: np.ndarray | None = None
    times: np.ndarray | None = None

    @classmethod
    def check(
        cls,
        model: HybridClassifier,
        examples: Frame,
        y: Any,
        events: Frame | None,
        *,
        cv: str | Sequence[Any],
        folds: int,
        metric: str,
        groups_of_rows: Any,
        time: str | None,
        random_state: int,
    ) -> Task:
        """Check everything that a user gives, and make the folds."""
        if not isinstance(model, HybridClassifier):
            raise ParameterError(f"model must be a HybridClassifier, not {type(model).__name__}")
        check_kind(cv)
        unfitted = unfitted_copy(model)
        own = groups(unfitted)
        for group in unfitted.without:
            if group not in own:
                raise ParameterError(f"without names the group {group!r}, which is not there{closest(group, own)}")
        unfitted.tree_parameters()
        frame = unfitted_copy(unfitted, without=()).builder().check(examples, "examples")
        unfitted.check_events(events)
        labels = as_labels(y, frame.height, "y")
        classes, codes = encode(labels, None, "y")
        judged = find_metric(metric, len(classes))
        if isinstance(cv, str) and folds < (1 if cv == "time" else 2):
            raise FoldError(f"folds={folds} is too few for {cv} folds")
        if time is not None and cv != "time":
            raise FoldError('time is the column of cv="time"; leave it out, or use those folds')
        if groups_of_rows is not None and cv != "group":
            raise FoldError('groups are what cv="group" keeps together; leave them out, or use those folds')
        row_groups = times = None
        if cv == "time" or unfitted.behavior is not None:
            times = _times(unfitted, frame, time)
        if cv == "time":
            assert times is not None
            made = time_folds(times, folds)
        elif cv == "group":
            row_groups = _groups(unfitted, frame, groups_of_rows)
            made = group_folds(row_groups, folds, random_state)
        elif cv == "stratified":
            made = stratified_folds(codes, folds, random_state)
        else:
            made = given_folds(list(cv), frame.height)
        check_folds(made, codes, classes, judged)
        kind = cv if isinstance(cv, str) else "given"
        return cls(unfitted, frame, labels, codes, classes, events, judged, kind, made, row_groups, times)

    def fingerprint(self, space: SearchSpace) -> dict[str, str]:
        """What trials of one study must share, by name; a study is resumed only with the same."""
        builder = unfitted_copy(self.model, without=()).builder()
        fold_rows = hashlib.blake2b(digest_size=16)
        for fold in self.folds:
            for rows in (fold.train, fold.valid):
                fold_rows.update(len(rows).to_bytes(8) + rows.astype("<i8").tobytes())
        parameters = self.model.get_params(deep=False)
        parameters["encoder"] = _encoder_name(parameters["encoder"]) if self.model.text else None
        if self.model.behavior is not None:
            parameters["behavior"] = self.model.behavior.get_params(deep=False)
        stays = sorted(set(parameters) - (_TUNED & {*space, "without"}) - _WITHOUT_EFFECT)
        return {
            "examples": _digest(self.examples.select(builder.required_columns())),
            "labels": _digest(pl.DataFrame({"label": self.classes[self.codes]})),
            "events": ""
            if self.model.behavior is None
            else _digest(_read_events(self.model, self.events).sort(pl.all())),
            "folds": fold_rows.hexdigest(),
            "metric": self.metric.name,
            **{f"model's {name}": _written(parameters[name]) for name in stays},
            **{f"space of {name!r}": values for name, values in space.described().items()},
        }


def unfitted_copy(model: HybridClassifier, **settings: Any) -> HybridClassifier:
    """A new model with the same parameters but ``settings``; unlike a clone it shares the encoder, whose weights may be loaded."""
    return type(model)(**{**model.get_params(deep=False), **settings})


def _times(model: HybridClassifier, frame: pl.DataFrame, time: str | None) -> np.ndarray:
    if time is None:
        if model.behavior is None:
            raise FoldError('cv="time" needs a timestamp: name its column, time="..."; the model declares no behavior')
        time = model.behavior.log.timestamp
    require_columns(frame, [time], "examples")
    return microseconds(frame[time], "examples").to_numpy()


def _groups(model: HybridClassifier, frame: pl.DataFrame, given: Any) -> np.ndarray:
    """Group of each row, int64; rows without a group make one together."""
    if given is None:
        if model.behavior is None or model.behavior.log.user is None:
            raise FoldError('cv="group" needs groups: a column or one value a row; the model\'s log declares no user')
        given = model.behavior.log.user
    if isinstance(given, str):
        require_columns(frame, [given], "examples")
        given = frame[given]
    values = given if isinstance(given, pl.Series) else pl.Series(given)
    if len(values) != frame.height:
        raise FoldError(f"groups has {len(values):,} values for {frame.height:,} rows")
    return values.rank("dense").fill_null(0).to_numpy().astype(np.int64)


def _read_events(model: HybridClassifier, events: Frame | None) -> pl.DataFrame:
    """What the model reads of the events, sorted by time."""
    behavior = model.behavior
    assert behavior is not None
    log = behavior.log
    read = log.read(events, *behavior.log_columns())
    if not model.channels().recent_interest:
        return read
    frame, item = to_polars(events, "events"), (model.text or {})["item"]
    columns = [item] if isinstance(item, str) else list(item)
    require_columns(frame, columns, "events")
    return read.hstack(frame.sort(log.timestamp, maintain_order=True).select(pl.col(columns).name.prefix("text of ")))


def _encoder_name(encoder: Any) -> str:
    return repr(encoder if isinstance(encoder, TextEncoder) else TextEncoder(encoder))


def _written(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)


def _digest(frame: pl.DataFrame) -> str:
    """A hash of the values: written as text, which no version or layout of the frame changes."""
    digest = hashlib.blake2b(str(frame.columns).encode(), digest_size=16)
    for part in frame.iter_slices(_HASHED_ROWS):
        digest.update(part.write_csv(include_header=False, quote_style="non_numeric").encode())
    return digest.hexdigest()
