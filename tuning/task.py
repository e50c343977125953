"""What a study is about: examples, labels, events, folds and a metric, checked before any long work."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from features import DeclarationError, Window
from features.event_log import microseconds
from features.frames import Frame, closest, require_columns, to_polars
from features.timeline import MICROSECONDS
from hybrid import HybridClassifier, TextEncoder
from hybrid.artifact import head_digest
from hybrid.errors import ParameterError
from hybrid.labels import as_labels, encode
from hybrid.languages import speaking
from hybrid.metrics import Metric
from hybrid.metrics import metric as find_metric
from tuning.errors import FoldError
from tuning.folds import (
    Fold,
    check_folds,
    check_kind,
    given_folds,
    group_folds,
    group_time_folds,
    stratified_folds,
    time_folds,
)
from tuning.holdout import hold_back
from tuning.space import MORE, TREES, SearchSpace, groups
from tuning.storage import HEAD_START

_HASHED_ROWS = 65_536
_TUNED = {*TREES, *MORE, "booster", "head", "without"}
_WITHOUT_EFFECT = {"device", "n_jobs", "eval_metric"}
"""Parameters of the model that change no trial: where and how fast it trains, and the metric that the study's own replaces."""


@dataclass(frozen=True, eq=False)
class Holdout:
    """Rows that no trial sees: examples, class codes, and the groups of rows where the folds keep groups together."""

    examples: pl.DataFrame
    codes: np.ndarray
    row_groups: np.ndarray | None


@dataclass(frozen=True)
class Splitting:
    """How a study makes its folds.

    Parameters
    ----------
    kind : {"time", "group", "group_time", "stratified", "given"}
    n_folds : int
    gap : int
        Microseconds.
    span : int or None
        Microseconds.
    random_state : int
    """

    kind: str
    n_folds: int
    gap: int
    span: int | None
    random_state: int

    @classmethod
    def check(
        cls,
        kind: str,
        n_folds: int,
        gap: str | None,
        train_span: str | None,
        time: str | None,
        groups_of_rows: Any,
        random_state: int,
    ) -> Splitting:
        """Raise FoldError for options that do not go with the kind of folds."""
        made = cls(kind, n_folds, _length("gap", gap) or 0, _length("train_span", train_span), random_state)
        if kind != "given" and n_folds < (1 if kind == "time" else 2):
            raise FoldError(f"folds={n_folds} is too few for {kind} folds")
        for name, given in (("time", time), ("gap", gap), ("train_span", train_span)):
            if given is not None and not made.by_time:
                what = {"time": "the column of"}.get(name, "part of")
                raise FoldError(f'{name} is {what} cv="time" or "group_time"; leave it out, or use those folds')
        if groups_of_rows is not None and not made.by_group:
            raise FoldError('groups are what cv="group" keeps together; leave them out, or use those folds')
        return made

    @property
    def by_time(self) -> bool:
        """Whether the folds need times."""
        return self.kind in ("time", "group_time")

    @property
    def by_group(self) -> bool:
        """Whether the folds need groups."""
        return self.kind in ("group", "group_time")

    def folds_of(self, codes: np.ndarray, times: np.ndarray | None, groups: np.ndarray | None) -> tuple[Fold, ...]:
        """The folds of rows with these classes, times and groups."""
        if self.kind == "time":
            assert times is not None
            return time_folds(times, self.n_folds, gap=self.gap, span=self.span)
        if self.kind == "group":
            assert groups is not None
            return group_folds(groups, self.n_folds, self.random_state)
        if self.kind == "group_time":
            assert times is not None
            assert groups is not None
            return group_time_folds(times, groups, self.n_folds, self.random_state, gap=self.gap, span=self.span)
        return stratified_folds(codes, self.n_folds, self.random_state)


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
    splitting : Splitting, optional
        How the folds were declared; None where the user gave them as rows.
    holdout : Holdout, optional
        Rows that no trial sees.
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
    splitting: Splitting | None = None
    holdout: Holdout | None = None

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
        gap: str | None = None,
        train_span: str | None = None,
        holdout: float = 0.0,
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
        kind = cv if isinstance(cv, str) else "given"
        splitting = Splitting.check(kind, folds, gap, train_span, time, groups_of_rows, random_state)
        row_groups = times = None
        if splitting.by_time or unfitted.timestamp() is not None:
            times = _times(unfitted, frame, time)
        if splitting.by_group:
            row_groups = _groups(unfitted, frame, groups_of_rows)
        held = None
        if holdout:
            if not isinstance(holdout, float) or not 0 < holdout < 1:
                raise FoldError(f"holdout must be a share between 0 and 1, not {holdout!r}")
            used, kept = hold_back(
                holdout,
                kind,
                codes=codes,
                times=times,
                groups=row_groups,
                gap=splitting.gap,
                random_state=random_state,
            )
            held = Holdout(frame[kept], codes[kept], None if row_groups is None else row_groups[kept])
            frame, labels, codes = frame[used], labels[used], codes[used]
            row_groups, times = (None if values is None else values[used] for values in (row_groups, times))
        given = None if isinstance(cv, str) else given_folds(list(cv), frame.height)
        made = given or splitting.folds_of(codes, times, row_groups)
        check_folds(made, codes, classes, judged)
        return cls(
            model=unfitted,
            examples=frame,
            labels=labels,
            codes=codes,
            classes=classes,
            events=events,
            metric=judged,
            cv=kind,
            folds=made,
            row_groups=row_groups,
            times=times,
            splitting=None if given else splitting,
            holdout=held,
        )

    def with_folds(self, n_folds: int) -> Task:
        """The same task with another number of folds."""
        assert self.splitting is not None
        splitting = dataclasses.replace(self.splitting, n_folds=n_folds)
        made = splitting.folds_of(self.codes, self.times, self.row_groups)
        check_folds(made, self.codes, self.classes, self.metric)
        return dataclasses.replace(self, splitting=splitting, folds=made)

    def part(self, rows: np.ndarray) -> Task:
        """The same task of some of the rows, with folds of their own.

        Raises
        ------
        FoldError
            The folds were given as rows, or cannot be made of these rows.
        """
        if self.splitting is None:
            raise FoldError("the folds were given as rows, which says nothing of how to fold a part of them")
        codes = self.codes[rows]
        row_groups, times = (None if values is None else values[rows] for values in (self.row_groups, self.times))
        made = self.splitting.folds_of(codes, times, row_groups)
        check_folds(made, codes, self.classes, self.metric)
        return dataclasses.replace(
            self,
            examples=self.examples[rows],
            labels=self.labels[rows],
            codes=codes,
            folds=made,
            row_groups=row_groups,
            times=times,
            holdout=None,
        )

    def fingerprint(self, space: SearchSpace) -> dict[str, str]:
        """What trials of one study must share, by name; a study is resumed only with the same."""
        builder = unfitted_copy(self.model, without=()).builder()
        fold_rows = hashlib.blake2b(digest_size=16)
        for fold in self.folds:
            for rows in (fold.train, fold.valid):
                fold_rows.update(len(rows).to_bytes(8) + rows.astype("<i8").tobytes())
        columns, statistics = builder.required_columns(), self.model.label_statistics
        if statistics is not None:
            columns = list(dict.fromkeys([*columns, *statistics.group_columns()]))
        with speaking("en"):
            values = space.described()
        parameters = self.model.get_params(deep=False)
        parameters["encoder"] = _encoder_name(parameters["encoder"]) if self.model.text else None
        if self.model.behavior is not None:
            parameters["behavior"] = self.model.behavior.get_params(deep=False)
        if statistics is not None:
            parameters["label_statistics"] = statistics.get_params(deep=False)
        head = builder.evidence.channels.head
        start = {} if head is None or head.start is None else {HEAD_START: head_digest(head.start)}
        stays = sorted(set(parameters) - (_TUNED & {*space, "without"}) - _WITHOUT_EFFECT)
        return {
            "examples": _digest(self.examples.select(columns)),
            "labels": _digest(pl.DataFrame({"label": self.classes[self.codes]})),
            "events": ""
            if self.model.behavior is None
            else _digest(_read_events(self.model, self.events).sort(pl.all())),
            "folds": fold_rows.hexdigest(),
            "holdout": ""
            if self.holdout is None
            else _digest(self.holdout.examples.select(builder.required_columns())),
            **start,  # another model may be saved there before a study goes on
            "metric": self.metric.name,
            **{f"model's {name}": _written(parameters[name]) for name in stays},
            **{f"space of {name!r}": value for name, value in values.items()},
        }


def unfitted_copy(model: HybridClassifier, **settings: Any) -> HybridClassifier:
    """A new model with the same parameters but ``settings``; unlike a clone it shares the encoder, whose weights may be loaded."""
    return type(model)(**{**model.get_params(deep=False), **settings})


def _length(name: str, declared: str | None) -> int | None:
    """A length of time in microseconds."""
    if declared is None:
        return None
    try:
        seconds = Window.of(declared).seconds
    except DeclarationError as error:
        raise FoldError(f"{name}: {error}") from None
    if seconds is None:
        raise FoldError(f'{name}={declared!r} must be a length of time such as "7d"')
    return seconds * MICROSECONDS


def _times(model: HybridClassifier, frame: pl.DataFrame, time: str | None) -> np.ndarray:
    time = time or model.timestamp()
    if time is None:
        raise FoldError('cv="time" needs a timestamp: name its column, time="..."; the model declares no behavior')
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
