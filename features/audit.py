"""The leak audit: does any feature know what was not known at the example's time?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from sklearn.base import clone

from features.behavior import BehaviorFeatures
from features.errors import ColumnError, DeclarationError
from features.event_log import has_zone, microseconds
from features.frames import Frame, require_columns, to_polars
from features.leaks import availability, coverage, duplicates, label, recomputation, shift, strength
from features.leaks.finding import SEVERITIES, Finding, table
from features.leaks.subject import BehaviorSubject, Subject, TransformerSubject, numbers
from features.timeline import MICROSECONDS
from features.window import Window

_TEST_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class AuditReport:
    """What an audit found.

    Attributes
    ----------
    findings : polars.DataFrame
        One row a finding, evidence first: ``check`` (String: recomputation, shift, label, strength, availability, duplicates or coverage),
        ``column`` (String, null where it concerns rows or the log), ``severity`` (Enum: evidence, warning, note), ``rows`` (Int64, examples
        affected), ``value`` and ``reference`` (Float64, what was measured and what it was held against), ``explanation`` (String).
    columns : polars.DataFrame
        One row a column: ``column``, ``auc`` (null without ``y``), ``null_train``, ``null_test``, ``zero_train``,
        ``zero_test``, ``constant_train``, ``constant_test`` (shares of rows), ``recomputed`` and ``differ`` (rows; null for columns given
        as such).
    """

    findings: pl.DataFrame
    columns: pl.DataFrame

    @property
    def passed(self) -> bool:
        """Whether there is no evidence of a leak."""
        return not (self.findings["severity"] == "evidence").any()

    def __str__(self) -> str:
        counted = [f"{(self.findings['severity'] == one).sum()} {one}" for one in SEVERITIES]
        lines = [
            f"audit of {self.columns.height:,} columns {'passed' if self.passed else 'failed'}: {', '.join(counted)}"
        ]
        for row in self.findings.iter_rows(named=True):
            lines.append(f"[{row['severity']}] {row['check']}: {row['column'] or 'rows'}: {row['explanation']}")
        return "\n".join(lines)


def audit(
    behavior: Any,
    events: Frame | None,
    examples: Frame,
    y: object = None,
    *,
    columns: Frame | None = None,
    split: object = None,
    folds: object = None,
    identity: Sequence[str] | None = None,
    timestamp: str | None = None,
    sample: int = 200,
    tick: str | None = None,
    signal_fall: float = 0.02,
    auc_threshold: float = 0.95,
    auc_deviations: float = 5.0,
    availability_effect: float = 0.5,
    availability_z: float = 5.0,
    random_state: int = 0,
) -> AuditReport:
    """Look for leaks in behaviour features, and in any further columns of the same examples.

    Parameters
    ----------
    behavior : BehaviorFeatures or object with ``transform(examples, events=...)``
        An unfitted ``BehaviorFeatures`` is fitted to the events; what a fitted one learned stays. Any other transformer answers with a
        frame of numeric columns, one row an example.
    events : frame or None
        The log. None: the one that ``behavior`` is fitted to.
    examples : frame with n_examples rows
    y : array-like of shape (n_examples,), optional
        Classes. Without it nothing is said of how strong columns are.
    columns : frame with n_examples rows, optional
        Features made by other means, numeric. Their strength and availability are audited.
    split : Boolean array of shape (n_examples,), or datetime, optional
        Which rows are test rows, or from when on. Default: the last fifth by time.
    folds : array-like of shape (n_examples,), optional
        The fold of each row; null for none. Default: training and test rows as ``split`` has them.
    identity : sequence of str, optional
        Columns of the examples in which two must agree to be the same. Default: keys and timestamp. Name texts, too, where they tell
        examples apart.
    timestamp : str, optional
        The column of the time, for a transformer without ``log.timestamp``.
    sample : int, default 200
        Rows to recompute: for the recomputation and, again, for each shift.
    tick : str, optional
        A further shift, such as "1s" for a log in whole seconds, beside that of one microsecond.
    signal_fall : float, default 0.02
        Fall of a column's AUC under a shift that is told.
    auc_threshold, auc_deviations : float, default 0.95 and 5.0
        A column is too strong from this AUC on and, where there are three others, that many robust standard deviations (1.4826 times the
        median absolute deviation) above their median, or above 0.999; from the first on but no further it is a warning.
    availability_effect, availability_z : float, default 0.5 and 5.0
        A share differs from this effect size on (Cohen's h, a medium effect: J. Cohen, "Statistical power analysis for the behavioral
        sciences", 2nd ed. 1988) and where the two-proportion z statistic reaches the second.
    random_state : int, default 0
        Seed of the rows that are drawn.

    Returns
    -------
    AuditReport

    Raises
    ------
    ColumnError, TimestampError, EmptyFrameError, DeclarationError

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import datetime, timedelta
    >>> from features import BehaviorFeatures, EventLog, audit
    >>> times = [datetime(2026, 1, 1) + timedelta(hours=i) for i in range(100)]
    >>> events = pl.DataFrame({"user": ["ann", "bob"] * 50, "ts": times})
    >>> behavior = BehaviorFeatures(EventLog(user="user", timestamp="ts"), ["user"], ["1d"])
    >>> audit(behavior, events, events).passed
    True
    """
    if sample < 1:
        raise DeclarationError(f"sample={sample!r} must be at least 1 row")
    subject = _subject(behavior, events, examples, timestamp)
    rows = len(subject.times)
    test = _test_rows(split, subject)
    fold = _aligned(test if folds is None else folds, rows, "folds")
    # Without a key two examples of one time have nothing that makes them the same.
    same = list(identity or ([*subject.keys, subject.timestamp] if subject.keys else ()))
    require_columns(subject.examples, same, "examples")
    classes = None if y is None else strength.labels(y, rows)
    further = _further(columns, rows)
    for_rows, for_label, *for_shifts = np.random.default_rng(random_state).spawn(4)

    values = subject.values()
    twice = set(values.columns) & set(further.columns)
    if twice:
        raise ColumnError(f"column {min(twice)!r} of columns has the name of a feature; rename it")
    every = values.hstack(further)
    strengths = None if classes is None else strength.strengths(every, classes)
    found: list[Finding] = []

    chosen = recomputation.sampled(subject, sample, for_rows)
    compared = recomputation.recompute(subject, values, chosen)
    found += recomputation.findings(subject, values, compared)
    for ticks, seed in zip(_ticks(tick), for_shifts, strict=False):
        found += shift.findings(subject, values, strengths, classes, ticks, signal_fall, sample, seed)
    if classes is not None and strengths is not None:
        found += label.findings(subject, values, classes, for_label)
        found += strength.findings(strengths, auc_threshold, auc_deviations, rows)
    shares = availability.shares(every, test)
    found += availability.findings(shares, int((~test).sum()), int(test.sum()), availability_effect, availability_z)
    if same:
        found += duplicates.findings(subject.examples, same, subject.keys, fold)
    found += coverage.findings(subject)
    return AuditReport(table(found), _columns(shares, strengths, compared))


def _subject(behavior: Any, events: Frame | None, examples: Frame, timestamp: str | None) -> Subject:
    if isinstance(behavior, BehaviorFeatures):
        fitted = hasattr(behavior, "families_")
        if events is None and not fitted:
            raise DeclarationError("behavior is not fitted: give audit the events, or fit it first")
        if events is not None:
            behavior = behavior.with_log(behavior.read(events)) if fitted else clone(behavior).fit(events)
        return BehaviorSubject(behavior, to_polars(examples, "examples"))
    if not callable(getattr(behavior, "transform", None)):
        raise DeclarationError(
            f"behavior must be a BehaviorFeatures or have transform(examples, events=...), not {behavior!r}"
        )
    named = timestamp or getattr(getattr(behavior, "log", None), "timestamp", None)
    if named is None or events is None:
        raise DeclarationError(
            "to audit a transformer of your own give audit the events, and timestamp= the column of their time"
        )
    return TransformerSubject(behavior, events, examples, named)


def _test_rows(split: object, subject: Subject) -> np.ndarray:
    if split is None:
        return subject.times >= np.quantile(subject.times, 1 - _TEST_SHARE, method="higher")
    if isinstance(split, date):  # a datetime is one
        when = split if isinstance(split, datetime) else datetime(split.year, split.month, split.day)
        asked = subject.examples[subject.timestamp]
        given = pl.Series([when])
        if has_zone(given) != has_zone(asked):
            raise DeclarationError(
                f"split={split!r} and the examples' timestamps must both have a time zone, or neither"
            )
        return microseconds(asked, "examples").to_numpy() >= microseconds(given, "split")[0]
    mask = _aligned(split, len(subject.times), "split")
    if mask.dtype != pl.Boolean or mask.null_count():
        raise ColumnError(f"split must be a time or true and false for each example, not {mask.dtype}")
    return mask.to_numpy()


def _aligned(given: object, rows: int, what: str) -> pl.Series:
    if isinstance(given, str):
        raise ColumnError(
            f"{what}={given!r} must have a value for each example{'; or give a datetime' * (what == 'split')}"
        )
    series = given if isinstance(given, pl.Series) else pl.Series(what, np.asarray(given).tolist())
    if len(series) != rows:
        raise ColumnError(f"{what} has {len(series):,} rows and examples {rows:,}")
    return series


def _further(columns: Frame | None, rows: int) -> pl.DataFrame:
    if columns is None:
        return pl.DataFrame()
    further = numbers(to_polars(columns, "columns"), "columns")
    if further.height != rows:
        raise ColumnError(f"columns has {further.height:,} rows and examples {rows:,}")
    return further


def _ticks(tick: str | None) -> list[int]:
    """Shifts in microseconds."""
    seconds = None if tick is None else Window.of(tick).seconds
    if tick is not None and seconds is None:
        raise DeclarationError(f"tick={tick!r} must be a length such as '1s'")
    return [1] if seconds is None else [1, seconds * MICROSECONDS]


def _columns(
    shares: pl.DataFrame,
    strengths: dict[str, float] | None,
    compared: dict[str, recomputation.Compared],
) -> pl.DataFrame:
    names = shares["column"].to_list()
    auc = [None if strengths is None else strengths[name] for name in names]
    recomputed = [compared[name].rows if name in compared else None for name in names]
    differ = [len(compared[name].differ) if name in compared else None for name in names]
    return shares.select("column").with_columns(
        pl.Series("auc", auc, dtype=pl.Float64).fill_nan(None),
        *shares.get_columns()[1:],
        pl.Series("recomputed", recomputed, dtype=pl.Int64),
        pl.Series("differ", differ, dtype=pl.Int64),
    )
