"""Studies: the space, the folds, what a trial trains on, what is kept, and what the report says."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import sqlite3
import tomllib
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
import sklearn.metrics as skm
import xgboost as xgb
from sklearn.base import clone

from features import BehaviorFeatures, ColumnError, EventLog
from hybrid import HybridClassifier, ParameterError, TextEncoder, TextHead
from tests.encoders import HashEncoder
from tuning import FoldError, SearchSpace, SpaceError, Study, StudyError, tune
from tuning.plan import Plan
from tuning.space import groups

START = datetime(2026, 1, 1)
WORDS = ["red", "blue", "green", "shoe", "boot", "lamp", "desk", "cup"]
LOG = EventLog(user="user", item="item", event="event", timestamp="ts")
N = 360


def draw(n: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user": [f"u{i}" for i in rng.integers(0, 30, n)],
            "item": rng.integers(0, 20, n),
            "query": [" ".join(rng.choice(WORDS, 2)) for _ in range(n)],
            "title": [" ".join(rng.choice(WORDS, 3)) for _ in range(n)],
            "price": rng.random(n).round(3),
            "shelf": rng.choice(["a", "b", "c"], n),
            "event": rng.choice(["click", "buy"], n),
            "ts": [START + timedelta(hours=int(h)) for h in rng.integers(0, 700, n)],
        }
    )


EXAMPLES, EVENTS = draw(N, 1), draw(1500, 2)
LABELS = np.where(
    EXAMPLES["query"].str.contains("red").to_numpy() ^ (np.random.default_rng(3).random(N) < 0.15), "buys", "leaves"
)


def small(**settings: Any) -> HybridClassifier:
    """A model of a price and a shelf, quick to train."""
    return HybridClassifier(
        **{"numeric": ["price"], "categorical": ["shelf"], "n_estimators": 20, "early_stopping_rounds": 5, "n_jobs": 1}
        | settings
    )


def full(**settings: Any) -> HybridClassifier:
    """A model with every kind of evidence."""
    evidence = {
        "text": {"query": "query", "item": "title"},
        "behavior": BehaviorFeatures(LOG, keys=["user", "item"], windows=["1d", "all"]),
        "encoder": TextEncoder(HashEncoder(), store=None),
        "head": None,
        "text_channels": {"recent_interest": 5},
    }
    return small(**evidence | settings)


def tuned(model: HybridClassifier | None = None, y: Any = LABELS, events: Any = None, **settings: Any) -> Study:
    chosen = {"cv": "stratified", "folds": 2, "n_trials": 3} | settings
    return tune(small() if model is None else model, EXAMPLES, y, events, **chosen)


# What comes back


def test_trials_have_a_row_each_and_a_column_for_every_parameter() -> None:
    study = tuned(full(), events=EVENTS, n_trials=4)
    assert study.trials.columns[:4] == ["number", "state", "value", "duration_s"]
    assert study.trials["number"].to_list() == [0, 1, 2, 3]
    assert study.trials.schema["value"] == pl.Float64
    assert study.trials.schema["max_depth"] == pl.Int64
    assert study.trials.schema["booster"] == pl.String
    assert {c for c in study.trials.columns if c.startswith("use ")} == {
        "use query text",
        "use item text",
        "use text match",
        "use user behaviour",
        "use item behaviour",
        "use recent interest",
        "use attributes",
    }
    assert study.trials["use attributes"].dtype == pl.Boolean
    assert study.trials["duration_s"].min() > 0
    assert repr(study).startswith("Study('intentree': 4 trials, best log_loss 0.")


def test_first_trial_has_the_models_own_settings_and_the_model_stays_as_it_was() -> None:
    model = full(max_depth=4, without=["text match"], text_channels={"coordinates": 5, "recent_interest": 5})
    before = repr(model.get_params())
    study = tuned(model, events=EVENTS, n_trials=1)
    assert study.best_params["max_depth"] == 4
    assert study.best_params["without"] == ["text match"]
    assert study.best_params["text_channels"] == {"coordinates": 5, "recent_interest": 5}
    assert repr(model.get_params()) == before
    assert not hasattr(model, "booster_")


def test_own_settings_outside_the_space_are_not_tried() -> None:
    study = tuned(small(max_depth=12), space={"max_depth": (2, 3)}, n_trials=2)
    assert set(study.trials["max_depth"]) <= {2, 3}


def test_value_is_the_mean_metric_of_trainings_by_hand() -> None:
    space = {"booster": "xgboost", "subsample": 1.0, "colsample": 1.0, "use attributes": True, "use query text": True}
    study = tuned(full(), events=EVENTS, cv="time", folds=2, space=space)
    best = study.best_params

    model = clone(full()).set_params(**best)
    builder = model.builder()
    matrix = model.select(builder.fit(EXAMPLES, builder.encode(EXAMPLES), EVENTS))
    types = ["c" if column.categories else "q" for column in matrix.columns]
    y = (LABELS == "leaves").astype(int)
    losses = []
    for fold in study.task.folds:
        kind = {"feature_types": types, "enable_categorical": True, "nthread": 1}
        train = xgb.QuantileDMatrix(matrix.values[fold.train], y[fold.train], **kind)
        valid = xgb.QuantileDMatrix(matrix.values[fold.valid], y[fold.valid], ref=train, **kind)
        booster = xgb.train(
            {
                "objective": "binary:logistic",
                "eta": best["learning_rate"],
                "max_depth": best["max_depth"],
                "min_child_weight": best["min_child_weight"],
                "lambda": best["reg_lambda"],
                "alpha": best["reg_alpha"],
                "eval_metric": "logloss",
                "nthread": 1,
                "seed": 0,
            },
            train,
            num_boost_round=20,
            evals=[(valid, "valid")],
            early_stopping_rounds=5,
            verbose_eval=False,
        )
        proba = booster.predict(valid, iteration_range=(0, booster.best_iteration + 1))
        losses.append(skm.log_loss(y[fold.valid], proba))
    assert study.best_value == pytest.approx(np.mean(losses), abs=1e-5)


def test_best_model_scores_as_a_refit_by_hand() -> None:
    study = tuned(full(), events=EVENTS)
    by_hand = clone(full()).set_params(**study.best_params)
    by_hand.set_params(n_estimators=study.best_rounds, early_stopping_rounds=None).fit(EXAMPLES, LABELS, events=EVENTS)
    best = study.best_model()
    new = draw(50, 9)
    np.testing.assert_array_equal(best.predict_proba(new), by_hand.predict_proba(new))
    assert set(best.predict(new)) <= {"buys", "leaves"}
    assert best.booster_.best_iteration == study.best_rounds


@pytest.mark.parametrize("coordinates", [2, 7, 16])
@pytest.mark.parametrize(
    "without", [[], ["query text", "user behaviour"], ["attributes", "text match", "recent interest"]]
)
def test_a_trial_reads_what_the_model_with_its_settings_reads(coordinates: int, without: list[str]) -> None:
    study = tuned(full(), events=EVENTS, space={"coordinates": [2, 7, 16]}, n_trials=1)
    plan = Plan.build(study.task, study.space)
    read = plan.part(np.arange(N), plan.columns({"text_channels": {"coordinates": coordinates}, "without": without}))
    model = full(text_channels={"coordinates": coordinates, "recent_interest": 5}, without=without).fit(
        EXAMPLES, LABELS, events=EVENTS
    )
    own = model.matrix(EXAMPLES)
    assert read.columns == own.columns
    np.testing.assert_allclose(read.values, own.values, atol=1e-5)


def with_head(**settings: Any) -> HybridClassifier:
    return full(**{"head": "auto", "text_channels": {"head": TextHead(words=8, hidden=8, folds=2)}} | settings)


@pytest.mark.parametrize("mode", ["margin", "feature"])
def test_a_trial_reads_a_head_that_never_saw_the_fold_s_validation_labels(mode: str) -> None:
    space = {"booster": "xgboost", "head": mode, "use text head": True}
    study = tuned(with_head(), events=EVENTS, space=space, n_trials=1)
    plan = Plan.build(study.task, study.space)
    fold = study.task.folds[0]
    turned = study.task.codes.copy()
    turned[fold.valid] = 1 - turned[fold.valid]
    other = Plan.build(dataclasses.replace(study.task, codes=turned), study.space)
    np.testing.assert_array_equal(plan.head(0, {}).valid, other.head(0, {}).valid)
    np.testing.assert_array_equal(plan.head(0, {}).train, other.head(0, {}).train)
    assert study.best_params["head"] == mode
    assert study.best_model().head_.mode == mode


def test_the_head_is_searched_and_switched() -> None:
    study = tuned(with_head(), events=EVENTS, n_trials=6)
    assert study.trials["head"][0] == "margin"  # what a model that leaves it open begins with
    assert set(study.trials["head"].drop_nulls()) <= {"margin", "feature"}
    assert "use text head" in study.trials.columns
    with pytest.raises(SpaceError, match='head is "margin" or "feature"'):
        tuned(with_head(), events=EVENTS, space={"head": "off"})


@pytest.mark.parametrize("mode", ["margin", "feature"])
def test_a_trial_and_its_model_may_read_the_head_alone(mode: str) -> None:
    off = {f"use {group}": False for group in groups(with_head()) if group != "text head"}
    study = tuned(with_head(), events=EVENTS, n_trials=1, space={**off, "use text head": True, "head": mode})
    best = study.best_model()
    assert {column.group for column in best.columns_} == {"text head"}
    assert best.predict_proba(EXAMPLES).shape == (N, 2)


def test_texts_are_encoded_once_for_all_trials_and_folds() -> None:
    encoder = HashEncoder()
    tuned(full(encoder=TextEncoder(encoder, store=None), text_channels=None), events=EVENTS, n_trials=4, folds=3)
    distinct = EXAMPLES["query"].n_unique() + EXAMPLES["title"].n_unique()
    probes = len(encoder.texts) - distinct
    assert 0 <= probes <= 4


def test_metrics_that_grow_are_maximized() -> None:
    study = tuned(metric="roc_auc", n_trials=5)
    values = study.trials["value"].drop_nulls()
    assert study.best_value == values.max()
    assert values.n_unique() > 1


def test_same_seed_same_trials() -> None:
    first, second = (tuned(random_state=7, n_trials=6).trials.drop("duration_s") for _ in range(2))
    assert first.equals(second)


def test_multi_class_labels_and_class_weights() -> None:
    labels = EXAMPLES["shelf"].to_numpy()
    study = tuned(small(class_weight="balanced", categorical=(), numeric=["price"]), labels, metric="accuracy")
    assert study.best_model().classes_.tolist() == ["a", "b", "c"]


# The space


def test_a_line_narrows_or_fixes_a_parameter() -> None:
    space = {
        "max_depth": (2, 4),
        "booster": ["xgboost"],
        "learning_rate": 0.125,
        "subsample": {"low": 0.9, "high": 1.0},
    }
    trials = tuned(space=space, n_trials=8).trials
    assert set(trials["max_depth"]) <= {2, 3, 4}
    assert set(trials["booster"]) == {"xgboost"}
    assert set(trials["learning_rate"]) == {0.125}
    assert trials["subsample"].min() >= 0.9


def test_log_scales_and_powers_of_two_are_kept_in_narrowed_ranges() -> None:
    space = SearchSpace.of({"learning_rate": (0.01, 0.1), "coordinates": (4, 40)}, full())
    assert space["learning_rate"] == optuna.distributions.FloatDistribution(0.01, 0.1, log=True)
    assert space["coordinates"] == optuna.distributions.CategoricalDistribution([4, 8, 16, 32])


def test_a_search_space_replaces_the_default_one() -> None:
    space = SearchSpace({"max_depth": optuna.distributions.IntDistribution(2, 5)})
    study = tuned(small(learning_rate=0.2), space=space)
    assert study.best_params == {"max_depth": study.best_params["max_depth"], "without": []}
    assert study.best_model().learning_rate == 0.2


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"max_dept": (2, 4)}, r"no parameter 'max_dept'; did you mean 'max_depth'"),
        ({"use query txt": True}, r"did you mean 'use query text'"),
        ({"max_depth": (8, 3)}, r"max_depth=\(8, 3\) is empty"),
        ({"max_depth": []}, r"leaves nothing to choose"),
        ({"max_depth": (2.5, 3)}, r"max_depth must be a whole number, not 2.5"),
        ({"learning_rate": (0, 1)}, r"low must be above 0"),
        ({"learning_rate": "fast"}, r"learning_rate must be a number, not 'fast'"),
        ({"booster": "xgbost"}, r"no booster 'xgbost'; did you mean 'xgboost'"),
        ({"booster": ("xgboost", "lightgbm")}, r"give choices as a list"),
        ({"use attributes": 1}, r"True, False or \[True, False\], not 1"),
        ({"coordinates": [0, 8]}, r"coordinates=0 alone"),
        ({f"use {group}": False for group in groups(full())}, r"no group is left to learn from"),
        ("defualt", r'space must be "default"'),
    ],
)
def test_a_space_that_means_nothing_is_refused(space: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        tuned(full(), events=EVENTS, space=space)


def test_values_outside_what_a_parameter_can_be_are_refused() -> None:
    with pytest.raises(ParameterError, match="subsample"):
        tuned(space={"subsample": (0.5, 1.5)})


def test_no_trial_goes_without_any_group() -> None:
    behavior = BehaviorFeatures(LOG, keys=["user"], windows=["all"])
    trials = tuned(
        small(behavior=behavior, n_estimators=3), events=EVENTS, n_trials=25, space={"booster": "xgboost"}
    ).trials
    on = trials.select("use user behaviour", "use attributes")
    assert on.select(pl.any_horizontal(pl.all())).to_series().all()
    assert not on["use user behaviour"].all()
    assert not on["use attributes"].all()


def test_without_coordinates_there_are_no_switches_of_texts() -> None:
    study = tuned(full(), events=EVENTS, space={"coordinates": 0})
    assert "use query text" not in study.trials.columns
    assert study.best_model().predict_proba(EXAMPLES).shape == (N, 2)


def test_parameters_of_a_library_keep_its_booster() -> None:
    study = tuned(small(booster="lightgbm", booster_params={"min_data_in_leaf": 5}), n_trials=6)
    assert set(study.trials["booster"]) == {"lightgbm"}
    with pytest.raises(SpaceError, match="booster_params are lightgbm's own"):
        tuned(small(booster="lightgbm", booster_params={"x": 5}), space={"booster": ["xgboost", "lightgbm"]})


# The folds


def test_time_folds_train_on_the_past_and_part_no_moment() -> None:
    times = EXAMPLES["ts"].to_numpy()
    study = tuned(full(), events=EVENTS, cv="time", folds=3, n_trials=1)
    assert len(study.task.folds) == 3
    validated = np.concatenate([fold.valid for fold in study.task.folds])
    assert len(set(validated)) == len(validated)
    assert times[validated].max() == times.max()
    for fold in study.task.folds:
        assert times[fold.train].max() < times[fold.valid].min()
        assert set(fold.train) == set(np.flatnonzero(times < times[fold.valid].min()))
        assert 0.7 * N / 4 < len(fold.valid) < 1.3 * N / 4


def test_time_folds_of_a_few_crowded_moments() -> None:
    moments = np.repeat([0, 1, 2, 3, 4], [5, 300, 20, 20, 15])
    frame = EXAMPLES.with_columns(at=pl.Series([START + timedelta(days=int(d)) for d in moments]))
    study = tune(small(), frame, LABELS, cv="time", time="at", folds=4, n_trials=1)
    assert [set(moments[fold.valid]) for fold in study.task.folds] == [{1}, {2}, {3}, {4}]
    with pytest.raises(FoldError, match=r"5 time folds need examples of at least 6 different times, there are 5"):
        tune(small(), frame, LABELS, cv="time", time="at", folds=5, n_trials=1)


@pytest.mark.parametrize("given", [None, "shelf", "array"])
def test_group_folds_part_no_group(given: str | None) -> None:
    rooms = np.random.default_rng(0).integers(0, 12, N)
    model = full() if given is None else small()
    study = tuned(
        model,
        events=EVENTS if given is None else None,
        cv="group",
        groups=rooms if given == "array" else given,
        folds=3,
        n_trials=1,
    )
    values = {None: EXAMPLES["user"].to_numpy(), "shelf": EXAMPLES["shelf"].to_numpy(), "array": rooms}[given]
    assert sorted(np.concatenate([fold.valid for fold in study.task.folds])) == list(range(N))
    for fold in study.task.folds:
        assert not set(values[fold.train]) & set(values[fold.valid])


def test_given_folds_are_taken_as_they_are() -> None:
    mask = np.arange(N) < 200
    study = tuned(cv=[(mask, ~mask), (np.arange(100), np.arange(100, 180))], n_trials=1)
    assert [(len(f.train), len(f.valid)) for f in study.task.folds] == [(200, N - 200), (100, 80)]


SORTED = np.argsort(LABELS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cv": [(SORTED[:50], SORTED[50:])]}, r"fold 1 of 1: its 50 training rows hold one class only, 'buys'"),
        ({"cv": [(np.arange(9), np.arange(9, 90)), (np.arange(9), [])]}, r"fold 2 of 2 has no validation rows"),
        (
            {"cv": [(np.arange(50), np.arange(49, 90))]},
            r"fold 1 of 1: 1 rows, the first is 49, are in train and in valid",
        ),
        ({"cv": [(np.arange(50), np.arange(50, N + 1))]}, rf"has the row {N}, the examples have rows 0 to {N - 1}"),
        ({"cv": "times"}, r"no folds 'times'; did you mean 'time'"),
        ({"cv": "time"}, r"name its column"),
        ({"cv": "group"}, r"the model's log declares no user"),
        ({"cv": "group", "groups": np.zeros(N)}, r"at least 2 groups, there are 1"),
        ({"cv": "group", "groups": np.zeros(N - 1)}, rf"{N - 1} values for {N} rows"),
        ({"groups": "shelf"}, r'groups are what cv="group" keeps together'),
        ({"folds": 1}, r"folds=1 is too few"),
    ],
)
def test_folds_that_cannot_be_learned_from_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FoldError, match=message):
        tuned(**settings)


def test_fold_without_a_class_that_the_metric_needs() -> None:
    labels = np.array(["a", "b", "c"] * (N // 3))
    folds = [(np.arange(90), np.arange(90, 180)[labels[90:180] != "c"])]
    with pytest.raises(FoldError, match="fold 1 of 1: roc_auc cannot be computed"):
        tuned(y=labels, cv=folds, metric="roc_auc")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"metric": "logloss"}, ParameterError, "did you mean 'log_loss'"),
        ({"n_trials": -1}, ParameterError, "n_trials"),
        ({"n_workers": 0}, ParameterError, "n_workers"),
        ({"timeout": "2 weeks"}, ParameterError, "'90m' or '2h'"),
        ({"model": small(without=["attribute"])}, ParameterError, "did you mean 'attributes'"),
        ({"model": small(numeric=["prize"])}, ColumnError, "did you mean 'price'"),
        ({"storage": "studies.db"}, StudyError, "sqlite:///studies.db"),
    ],
)
def test_other_mistakes_are_named(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tuned(**settings)


# The study and its storage


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_study_goes_on_under_its_name(tmp_path: Path, kind: str) -> None:
    storage = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else str(tmp_path / "s.journal")
    first = tuned(storage=storage, n_trials=4).trials
    second = tuned(storage=storage, n_trials=3).trials
    assert second.height == 7
    assert second.head(4).equals(first)
    assert second["subsample"][3:].n_unique() == 4  # the first three are given
    opened = tuned(storage=storage, n_trials=0)
    assert opened.trials.equals(second)
    assert opened.best_value == second["value"].min()


def test_another_name_is_another_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    tuned(storage=storage, n_trials=2)
    assert tuned(storage=storage, study_name="other", n_trials=1).trials.height == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.roll(LABELS, 1)}, "the labels"),
        ({"folds": 3}, "the folds"),
        ({"metric": "roc_auc"}, "metric was log_loss, is roc_auc"),
        ({"space": {"max_depth": (3, 5)}}, "space of 'max_depth' was 3 to 10, is 3 to 5"),
        ({"model": small(n_estimators=21)}, "model's n_estimators was 20, is 21"),
    ],
)
def test_a_study_of_something_else_does_not_go_on(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    tuned(storage=storage, n_trials=1)
    with pytest.raises(StudyError, match=message):
        tuned(storage=storage, **change)
    assert tuned(small(n_jobs=2), storage=storage, n_trials=0).trials.height == 1


def test_other_events_are_other_data(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    tuned(full(), events=EVENTS, storage=storage, n_trials=1)
    shuffled = EVENTS.sample(fraction=1.0, shuffle=True, seed=0).select(reversed(EVENTS.columns))
    assert tuned(full(), events=shuffled, storage=storage, n_trials=0).trials.height == 1
    with pytest.raises(StudyError, match="the events"):
        tuned(full(), events=EVENTS.head(1400), storage=storage)


def test_a_study_of_optunas_own_is_not_taken_over(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    foreign = optuna.create_study(storage=storage, study_name="intentree")
    foreign.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(StudyError, match="was not made by tune"):
        tuned(storage=storage)


def test_storages_that_cannot_be_used_are_named_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="create its folder first"):
        tuned(storage=f"sqlite:///{tmp_path}/nowhere/s.db")
    with pytest.raises(StudyError, match="create its folder first"):
        tuned(storage=tmp_path / "nowhere" / "s.journal")
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(StudyError, match="file of another kind"):
        tuned(storage=f"sqlite:///{tmp_path}/text.db")

    path = tmp_path / "s.db"
    tuned(storage=f"sqlite:///{path}", n_trials=1)
    with pytest.raises(StudyError, match="read-only"):
        tuned(storage=f"sqlite:///file:{path}?mode=ro&uri=true")
    held = sqlite3.connect(path, isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StudyError, match="another program holds it"):
        tuned(storage=f"sqlite:///{path}?timeout=0.05")
    held.close()


def test_an_opened_study_must_have_a_finished_trial() -> None:
    with pytest.raises(StudyError, match="has no finished trial"):
        tuned(n_trials=0)


def test_a_short_timeout_still_ends_the_first_trial() -> None:
    assert tuned(timeout=1e-6, n_trials=50).trials["state"].to_list() == ["COMPLETE"]
    assert tuned(timeout="0.3s", n_trials=10_000).trials.height < 10_000


# Trials that end before their time


@pytest.mark.parametrize("n_workers", [1, 2])
def test_ctrl_c_keeps_finished_trials(tmp_path: Path, n_workers: int) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"

    def interrupt(step: str, done: int, total: int) -> None:
        if step == "trials" and done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(UserWarning, match="interrupted"):
        study = tuned(storage=storage, n_trials=40, n_workers=n_workers, progress=interrupt)
    states = study.trials["state"].to_list()
    assert states.count("COMPLETE") >= 2
    assert len(states) < 40
    assert "RUNNING" not in states
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    kept = tuned(storage=storage, n_trials=1).trials
    assert kept.height == len(states) + 1


def test_ctrl_c_in_a_trial_fails_that_trial_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    train = Plan.train

    def interrupted(plan: Plan, fold_number: int, settings: Any, on_round: Any) -> Any:
        def press(round_: int, value: float) -> None:
            if settings["max_depth"] == 9 and round_ == 2:
                signal.raise_signal(signal.SIGINT)
            on_round(round_, value)

        return train(plan, fold_number, settings, press)

    monkeypatch.setattr(Plan, "train", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        study = tuned(space={"max_depth": [6, 9]}, n_trials=100)
    states = study.trials["state"].to_list()
    assert states[-1] == "FAIL"
    assert set(states[:-1]) == {"COMPLETE"}
    with pytest.raises(KeyboardInterrupt):
        tuned(space={"max_depth": 9}, n_trials=100)


def test_ctrl_c_waits_for_a_round_and_the_second_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    train, went_on = Plan.train, []

    def interrupted(plan: Plan, fold_number: int, settings: Any, on_round: Any) -> Any:
        if settings["max_depth"] == 9:
            signal.raise_signal(signal.SIGINT)
            went_on.append(True)
            signal.raise_signal(signal.SIGINT)
            went_on.append(False)
        return train(plan, fold_number, settings, on_round)

    monkeypatch.setattr(Plan, "train", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        study = tuned(space={"max_depth": [6, 9]}, n_trials=100)
    assert went_on == [True]
    assert study.interrupted


def test_when_every_trial_fails_the_first_error_is_raised_once(caplog: pytest.LogCaptureFixture) -> None:
    model = small(booster_params={"tree_method": "no such method"})
    with pytest.raises(StudyError, match=r"no trial finished, 3 failed; the first with XGBoostError") as raised:
        tuned(model)
    assert isinstance(raised.value.__cause__, xgb.core.XGBoostError)
    assert len([record for record in caplog.records if "failed" in record.message]) == 1


def test_a_trial_that_fails_does_not_end_the_study(caplog: pytest.LogCaptureFixture) -> None:
    study = tuned(space={"max_bin": [64, 2**40], "booster": "xgboost"}, n_trials=12)
    failed = study.trials.filter(state="FAIL")
    assert study.trials.height == 12
    assert set(failed["max_bin"]) == {2**40}
    assert failed["value"].null_count() == failed.height > 0
    assert study.best_params["max_bin"] == 64
    assert "the study goes on" in caplog.text


def test_poor_trials_are_pruned() -> None:
    space = {"learning_rate": [0.0201, 0.3], "booster": "lightgbm", "max_depth": 4}
    study = tuned(
        small(n_estimators=60, early_stopping_rounds=None),
        y=EXAMPLES["price"].to_numpy() > 0.5,
        space=space,
        n_trials=25,
    )
    pruned = study.trials.filter(state="PRUNED")
    assert pruned.height > 0
    assert pruned["value"].null_count() == pruned.height
    assert pruned["number"].min() >= 8
    assert study.best_params["learning_rate"] == 0.3


def test_progress_tells_steps_and_trials() -> None:
    told: list[tuple[str, int, int]] = []
    tuned(full(), events=EVENTS, n_trials=3, progress=lambda *step: told.append(step))
    assert [step for step in told if step[0] == "trials"] == [("trials", i, 3) for i in (1, 2, 3)]
    assert any(step.startswith("encode") for step, _, _ in told)


def test_optunas_own_verbosity_is_left_alone() -> None:
    before = optuna.logging.get_verbosity()
    tuned(n_trials=1)
    assert optuna.logging.get_verbosity() == before


# The report


def test_the_report_is_one_file_that_says_what_was_found(tmp_path: Path) -> None:
    study = tuned(full(), events=EVENTS, n_trials=14)
    study.report(tmp_path / "study.html", title="A <study>")
    html = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert len(html) < 5_000_000
    assert html.count("<script>") == 1
    assert not re.search(r"(src|href)=.(https?:)?//", html)
    assert "A &lt;study&gt;" in html
    assert f"{study.best_value:.4f}"[:5] in html
    assert f"trial {study.best_trial.number}" in html
    for name in ("query text", "recent interest", "learning_rate", "What each group was worth", "Share of importance"):
        assert name in html
    code = re.search(r"<code>(.*?)</code>", html, re.DOTALL)
    assert code is not None
    tables = tomllib.loads(unescape(code[1]))
    assert tables["model"] == {name: value for name, value in study.best_params.items() if name != "behavior"}
    assert tables.get("behavior", {}).get("windows", ["1d", "all"]) == study.best_model().behavior.windows


def test_the_report_of_a_single_trial_or_a_fixed_space(tmp_path: Path) -> None:
    for settings in (
        {"n_trials": 1},
        {"n_trials": 3, "space": dict.fromkeys(["use attributes"], True) | {"booster": "xgboost"}},
    ):
        tuned(small(behavior=None), **settings).report(tmp_path / "study.html")
        assert "own settings" in (tmp_path / "study.html").read_text(encoding="utf-8")


def test_the_cost_of_a_group_is_told_from_the_company_it_was_in(tmp_path: Path) -> None:
    # The label hangs on the query's text alone: only its switch may cost.
    study = tuned(full(n_estimators=30), events=EVENTS, n_trials=30, space={"booster": "lightgbm", "max_depth": 3})
    study.report(tmp_path / "study.html")
    html = (tmp_path / "study.html").read_text(encoding="utf-8")
    worse = re.search(r"Trials without these were clearly worse, by so much: ([^.]*\.\d+)", html)
    assert worse is not None
    assert worse[1].startswith("query text")
