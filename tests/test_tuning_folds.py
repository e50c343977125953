"""Folds in time with a gap and a span, of groups within time, and the final holdout."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from test_tuning import EVENTS, EXAMPLES, LABELS, N, full, small, tuned

from hybrid.metrics import metric
from tuning import FoldError, Study, StudyError

TIMES = EXAMPLES["ts"].to_numpy().astype("datetime64[us]").astype(np.int64)
DAY = 86_400_000_000
USERS = EXAMPLES["user"].to_numpy()


def in_time(**settings: Any) -> Study:
    chosen = {"cv": "time", "n_trials": 1} | settings
    return tuned(small(), time="ts" if chosen["cv"] in ("time", "group_time") else None, **chosen)


def test_a_gap_parts_training_from_validation_and_a_span_bounds_it() -> None:
    plain = in_time(folds=3).task.folds
    folds = in_time(folds=3, gap="2d", train_span="6d").task.folds
    for fold, before in zip(folds, plain, strict=True):
        start = TIMES[fold.valid].min()
        np.testing.assert_array_equal(fold.valid, before.valid)
        expected = [i for i in range(N) if start - 8 * DAY <= TIMES[i] < start - 2 * DAY]
        assert fold.train.tolist() == expected


def test_groups_within_time_validate_new_users_of_a_later_time() -> None:
    study = in_time(cv="group_time", groups="user", folds=3)
    for fold in study.task.folds:
        assert not set(USERS[fold.train]) & set(USERS[fold.valid])
        assert TIMES[fold.train].max() < TIMES[fold.valid].min()


@pytest.mark.parametrize("cv", ["time", "group", "group_time", "stratified"])
def test_no_trial_sees_the_holdout(cv: str) -> None:
    groups = "user" if "group" in cv else None
    study = in_time(cv=cv, groups=groups, folds=2, holdout=0.25)
    held = study.task.holdout
    assert held is not None
    assert 0.15 * N < held.examples.height < 0.35 * N
    seen = study.task.examples
    if "group" in cv and cv != "group_time":
        assert not set(seen["user"]) & set(held.examples["user"])
    if "time" in cv:
        assert seen["ts"].max() < held.examples["ts"].min()  # type: ignore[operator]
    assert seen.height + held.examples.height == N
    proba = study.best_model().predict_proba(held.examples)
    score = study.holdout_score()
    assert score.value == pytest.approx(metric("log_loss", 2)(held.codes, proba))
    assert score.low < score.value < score.high
    assert score.looks == 1
    assert study.holdout_score() == score


def test_labels_of_the_holdout_are_those_of_its_rows() -> None:
    study = in_time(holdout=0.3)
    order = dict(zip(EXAMPLES.iter_rows(), LABELS, strict=True))
    held = study.task.holdout
    assert held is not None
    assert [study.task.classes[code] for code in held.codes] == [order[row] for row in held.examples.iter_rows()]
    assert study.task.labels.tolist() == [order[row] for row in study.task.examples.iter_rows()]


def test_rows_within_the_gap_before_the_holdout_are_left_out() -> None:
    study = in_time(holdout=0.25, gap="3d", folds=1)
    held = study.task.holdout
    assert held is not None
    assert study.task.times is not None
    start = held.examples["ts"].to_numpy().astype("datetime64[us]").astype(np.int64).min()
    assert study.task.times.max() < start - 3 * DAY
    assert study.task.examples.height + held.examples.height < N


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gap": "soon"}, r"gap: window 'soon' is not a whole number with a unit"),
        ({"train_span": "all"}, r"train_span='all' must be a length of time"),
        ({"gap": "60d"}, r"has no training rows; fewer folds, a shorter gap or a longer train_span leave more"),
        ({"cv": "stratified", "gap": "1d"}, r'gap is part of cv="time"'),
        ({"holdout": 1.5}, r"a share between 0 and 1, not 1.5"),
        ({"holdout": 0.0001, "cv": "stratified"}, r"holdout"),
        ({"cv": [(range(100), range(100, N))], "holdout": 0.2}, r"leave the held-out rows out of the examples"),
        ({"cv": "group_time", "groups": "user", "folds": 1}, r"folds=1 is too few for group_time"),
    ],
)
def test_folds_that_cannot_be_made_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FoldError, match=message):
        in_time(**settings)


def test_a_study_without_a_holdout_says_how_to_have_one() -> None:
    with pytest.raises(StudyError, match=r"holdout=0.2"):
        in_time().holdout_score()


def test_a_study_goes_on_only_with_its_holdout() -> None:
    storage = optuna.storages.InMemoryStorage()
    in_time(storage=storage, holdout=0.2)
    with pytest.raises(StudyError, match=r"the examples.*holdout"):
        in_time(storage=storage, holdout=0.3)


def test_behaviour_of_the_holdout_is_as_of_its_own_rows() -> None:
    study = tuned(full(), events=EVENTS, cv="time", folds=1, n_trials=1, holdout=0.2)
    assert study.holdout_score().rows == study.task.holdout.examples.height  # type: ignore[union-attr]


def test_a_nested_score_searches_anew_within_each_outer_fold() -> None:
    study = tuned(small(), n_trials=2, folds=2, space={"booster": "xgboost"})
    nested = study.nested_score(outer=3, n_trials=2)
    assert nested.columns == ["fold", "train_rows", "valid_rows", "value", "own_value", "inner_value", "settings"]
    assert nested["valid_rows"].sum() == N
    assert nested["train_rows"].to_list() == [N - rows for rows in nested["valid_rows"]]
    # The own settings, by hand: fitted to the outer fold's training rows.
    outer = study.task.with_folds(3).folds[0]
    own = small(eval_metric="log_loss").fit(EXAMPLES[outer.train], LABELS[outer.train])
    by_hand = metric("log_loss", 2)(study.task.codes[outer.valid], own.predict_proba(EXAMPLES[outer.valid]))
    assert nested["own_value"][0] == pytest.approx(by_hand)
    with pytest.raises(StudyError, match="here cv listed rows"):
        tuned(cv=[(range(200), range(200, N))], n_trials=1).nested_score()


def test_importance_has_parameters_groups_and_windows() -> None:
    study = tuned(full(), events=EVENTS, n_trials=16, pruner=None)
    table = study.importance()
    assert table.columns == ["name", "kind", "share", "cost", "low", "high", "n_with", "n_without"]
    assert set(table["kind"]) == {"parameter", "group", "window"}
    assert table.filter(kind="parameter")["share"].sum() == pytest.approx(1)
    groups = table.filter(kind="group")
    assert (groups["n_with"] + groups["n_without"]).to_list() == [16] * groups.height
