"""What only a study of a hybrid can search: windows, half-lives, priors, options of families, weights of groups and of classes."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from test_tuning import EVENTS, EXAMPLES, LABELS, LOG, N, draw, full, small, tuned, with_head

from features import BehaviorFeatures, Decay, Similar
from hybrid import HybridClassifier
from tests.encoders import HashEncoder
from tuning import SearchSpace, SpaceError, StudyError
from tuning.behavior_options import as_parameters
from tuning.plan import Plan
from tuning.report import model_table

RATES = {"bought": ("buy", "click")}


def behaving(**settings: Any) -> HybridClassifier:
    """A model whose behaviour has windows, rates, half-lives and neighbours to search."""
    behavior = BehaviorFeatures(
        LOG,
        keys=["user", "item"],
        windows=["1d", "7d", "all"],
        rates=RATES,
        families=[Decay(half_lives=["6h", "2d"]), Similar(part="item", vectors=HashEncoder(), min_similarity=0.1)],
    )
    return small(**{"behavior": behavior, "booster": "xgboost"} | settings)


CHOICES = [
    {},
    {"window 1d": False},
    {"window 1d": False, "window all": False},
    {"prior_strength": 7.0},
    {"decay half_lives": [["2d"]]},
    {"similar power": 4},
    {"window 7d": False, "prior_strength": 5.0, "decay half_lives": [["6h"]], "similar min_similarity": 0.3},
]


@pytest.mark.parametrize("fixed", CHOICES)
def test_a_trial_reads_the_behaviour_that_its_model_computes(fixed: dict[str, Any]) -> None:
    """One plan holds every declaration of the space; each trial must read what a model with its settings would compute itself."""
    space = {
        "prior_strength": [None, 5.0, 7.0],
        "decay half_lives": [["6h", "2d"], ["6h"], ["2d"]],
        "similar power": [2, 4],
        "similar min_similarity": [0.1, 0.3],
    }
    study = tuned(behaving(), events=EVENTS, space=space, n_trials=1)
    plan = Plan.build(study.task, study.space)
    chosen = study.space.start(study.task.model)
    assert chosen is not None
    as_held = {
        name: '["6h"]' if value == [["6h"]] else '["2d"]' if value == [["2d"]] else value
        for name, value in fixed.items()
    }
    settings = study.space.settings(chosen | as_held, study.task.model)
    read = plan.part(np.arange(N), plan.columns(settings))

    model = behaving().set_params(**as_parameters(settings, study.task.model)).fit(EXAMPLES, LABELS, events=EVENTS)
    own = model.matrix(EXAMPLES)
    assert read.columns == own.columns
    np.testing.assert_array_equal(read.values, own.values)


def test_the_default_space_searches_what_the_behaviour_declares() -> None:
    space = SearchSpace.of("default", behaving())
    assert {"window 1d", "window 7d", "window all", "prior_strength", "decay half_lives"} <= set(space)
    assert space["decay half_lives"].choices == ('["6h", "2d"]', '["6h"]', '["2d"]')  # type: ignore[attr-defined]
    trials = tuned(
        behaving(n_estimators=3), events=EVENTS, n_trials=12, space={"use attributes": True, "max_depth": 2}
    ).trials
    kept = trials.select("window 1d", "window 7d", "window all").drop_nulls()
    assert kept.to_numpy().any(axis=1).all()  # never without any
    assert not kept.to_numpy().all()


def test_the_first_trials_are_the_models_own_and_two_known_good_ones() -> None:
    trials = tuned(behaving(learning_rate=0.25), events=EVENTS, n_trials=4).trials
    assert trials["learning_rate"][:3].to_list() == [0.25, 0.05, 0.1]
    assert trials["window 1d"][:3].to_list() == [True] * 3


def test_a_parameter_is_asked_only_where_it_means_something() -> None:
    space = {"lightgbm num_leaves": (4, 30), "xgboost gamma": (0.0, 2.0), "weight attributes": [0.1, 1.0]}
    model = with_head(n_estimators=3, booster="lightgbm")
    fixed = {"max_depth": 2, "use user behaviour": False}
    study = tuned(model, events=EVENTS, space=space | fixed, n_trials=14, pruner=None)
    trials = study.trials
    xgboost, head = trials["booster"] == "xgboost", trials["use text head"]
    assert trials.filter(xgboost)["lightgbm num_leaves"].is_null().all()
    assert trials.filter(~xgboost)["xgboost gamma"].is_null().all()
    assert trials.filter(~xgboost)["weight attributes"].is_null().all()
    assert trials.filter(~head)["head"].is_null().all()
    assert trials["state"].to_list() == ["COMPLETE"] * 14
    for asked in (xgboost, ~xgboost, ~head):
        assert asked.any()


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
def test_a_trial_scores_as_a_model_with_its_library_weights_and_classes(booster: str) -> None:
    fixed: dict[str, Any] = {"booster": booster, "class_weight": "balanced", "use attributes": True}
    fixed |= {"xgboost gamma": 1.5, "weight attributes": 0.2} if booster == "xgboost" else {"lightgbm num_leaves": 5}
    fixed |= {"colsample": 1.0}
    rows = np.arange(N)
    study = tuned(space=fixed, n_trials=1, cv=[(rows[:200], rows[200:])], metric="roc_auc")
    params = study.best_params
    assert params["class_weight"] == "balanced"
    assert params["booster_params"] == ({"gamma": 1.5} if booster == "xgboost" else {"num_leaves": 5})
    assert params.get("feature_weights") == ({"attributes": 0.2} if booster == "xgboost" else None)
    model = small(**params, eval_metric="roc_auc")
    model.fit(EXAMPLES[:200], LABELS[:200], eval_set=(EXAMPLES[200:], LABELS[200:]))
    proba = model.predict_proba(EXAMPLES[200:])[:, 1]
    assert study.best_value == pytest.approx(roc_auc_score(LABELS[200:] == "leaves", proba), abs=1e-6)


def test_coordinates_of_each_role() -> None:
    space = {"coordinates query": [2, 5], "coordinates item": 3}
    study = tuned(full(), events=EVENTS, space=space | {"use query text": True, "use item text": True}, n_trials=4)
    assert set(study.trials["coordinates query"]) <= {2, 5}
    columns = [column.name for column in study.best_model().columns_]
    n = study.best_trial.params["coordinates query"]
    assert sum(name.startswith("query__text_") for name in columns) == n
    assert sum(name.startswith("item__text_") for name in columns) == 3


def test_best_parameters_make_the_best_model() -> None:
    study = tuned(behaving(), events=EVENTS, n_trials=6, space={"window 1d": False, "prior_strength": 9.0})
    by_hand = behaving().set_params(**study.best_params)
    by_hand.set_params(n_estimators=study.best_rounds, early_stopping_rounds=None).fit(EXAMPLES, LABELS, events=EVENTS)
    new = draw(50, 9)
    np.testing.assert_array_equal(study.best_model().predict_proba(new), by_hand.predict_proba(new))
    assert {prior.strength for prior in by_hand.builder_.evidence.behavior.priors_.values()} == {9.0}  # type: ignore[union-attr]
    assert "1d" not in by_hand.behavior.windows  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"window 2d": False}, r"no parameter 'window 2d'; did you mean 'window"),
        ({"window 1d": "no"}, r"keeps a window: True, False"),
        ({"window 1d": False, "window 7d": False, "window all": False}, r"no window is left"),
        ({"trend windows": [["1d"]]}, r"needs one family 'trend' in the model's behavior; it declares none"),
        ({"decay half_lifes": [["1d"]]}, r"the family 'decay' has no option 'half_lifes'; did you mean 'half_lives'"),
        ({"decay half_lives": ["1d", "2d"]}, r"give a list of lists"),
        ({"decay half_lives": [["all"]]}, r"half_lives must be different lengths"),
        ({"similar power": (1, 3)}, r"is no range: give choices as a list"),
        ({"similar n_neighbors": list(range(1, 80))}, r"make 79 variants of the family 'similar'"),
        ({"prior_strength": -1}, r"prior_strength must be a number above 0"),
        ({"weight atributes": 0.5}, r"did you mean 'weight attributes'"),
        ({"weight attributes": 0}, r"must be a number above 0"),
        ({"weight attributes": 0.5, "booster": "lightgbm"}, r"XGBoost's alone"),
        ({"xgboost gamma": []}, r"give a range"),
        ({"reduction": "truncate"}, r"no parameter 'reduction'"),
    ],
)
def test_a_space_that_behaviour_or_library_lacks_is_refused(space: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        tuned(behaving(), events=EVENTS, space=space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"reduction item": "umap"}, r"reduction item must be one of 'pca', 'truncate', not 'umap'"),
        ({"reduction items": "pca"}, r"did you mean 'reduction item'"),
        ({"reduction": ("pca", "truncate")}, r"is no range: give choices as a list"),
        ({"reduction item": "truncate", "coordinates item": 0}, r"'reduction item' reduces texts without columns"),
        ({"reduction": "truncate", "coordinates": 0}, r"'reduction' reduces texts without columns"),
    ],
)
def test_a_reduction_that_means_nothing_is_refused(space: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        tuned(full(), events=EVENTS, space=space)


def test_a_group_without_columns_has_no_weight() -> None:
    with pytest.raises(SpaceError, match=r"'weight query text' weighs a group without columns"):
        tuned(full(), events=EVENTS, space={"coordinates": 0, "weight query text": 0.5})


def test_worker_processes_read_variants_and_weights_as_this_one_does() -> None:
    space: dict[str, Any] = {
        "decay half_lives": [["6h"], ["2d"]],
        "prior_strength": [None, 7.0],
        "class_weight": [None, "balanced"],
    }
    space |= {"calibration": [None, "temperature"]}
    behavior = BehaviorFeatures(
        LOG, keys=["user"], windows=["1d", "all"], rates=RATES, families=[Decay(half_lives=["6h", "2d"])]
    )
    here, there = (
        tuned(small(behavior=behavior), events=EVENTS, space=space, n_trials=6, isolate=isolate).trials.drop(
            "duration_s"
        )
        for isolate in (False, True)
    )
    assert here.equals(there)
    assert here["class_weight"].n_unique() == here["prior_strength"].n_unique() == here["calibration"].n_unique() == 2


def test_choices_survive_a_storage() -> None:
    storage = optuna.storages.InMemoryStorage()
    behavior = BehaviorFeatures(LOG, keys=["user"], windows=["all"], families=[Decay(half_lives=["6h", "2d"])])
    fixed = {"decay half_lives": [["2d"], ["6h"]]}
    first = tuned(small(behavior=behavior), events=EVENTS, space=fixed, n_trials=2, storage=storage)
    again = tuned(small(behavior=behavior), events=EVENTS, space=fixed, n_trials=0, storage=storage)
    assert again.trials.equals(first.trials)
    with pytest.raises(StudyError, match="half_lives"):
        tuned(small(behavior=behavior), events=EVENTS, space={}, n_trials=0, storage=storage)


REDUCED = [
    {"reduction": "truncate"},
    {"reduction item": "truncate", "coordinates": 5},
    {"reduction item": "truncate", "reduction query": "pca", "coordinates item": 2},
    {"reduction query": "truncate", "use item text": False},
]


@pytest.mark.parametrize("fixed", REDUCED)
def test_a_trial_reads_the_reduction_that_its_model_computes(fixed: dict[str, Any]) -> None:
    ways = ["pca", "truncate"]
    space = {"coordinates": [5, 16], "coordinates item": [2, 16], "decay half_lives": [["6h", "2d"], ["2d"]]}
    space |= {name: ways for name in ("reduction", "reduction item", "reduction query") if name in fixed}
    space = {name: values for name, values in space.items() if name in (*fixed, "decay half_lives")}
    behavior = BehaviorFeatures(LOG, keys=["user"], windows=["all"], families=[Decay(half_lives=["6h", "2d"])])
    model = full(behavior=behavior, booster="xgboost")
    study = tuned(model, events=EVENTS, space=space, n_trials=1)
    plan = Plan.build(study.task, study.space)
    chosen = study.space.start(study.task.model)
    settings = study.space.settings((chosen or {}) | fixed, study.task.model)
    read = plan.part(np.arange(N), plan.columns(settings))
    own = clone(model).set_params(**as_parameters(settings, study.task.model)).fit(EXAMPLES, LABELS, events=EVENTS)
    matrix = own.matrix(EXAMPLES)
    assert read.columns == matrix.columns
    np.testing.assert_allclose(read.values, matrix.values, atol=1e-5)


def test_the_reduction_of_each_role_is_searched_and_written_down() -> None:
    assert not any(name.startswith("reduction") for name in SearchSpace.default(full()))
    space = {"reduction item": ["pca", "truncate"], "coordinates": [4, 8], "use query text": True}
    study = tuned(full(), events=EVENTS, space=space, n_trials=10)
    asked = study.trials["reduction item"]
    assert asked[0] == "pca"
    assert set(asked.drop_nulls()) == {"pca", "truncate"}
    assert study.trials.filter(~pl.col("use item text"))["reduction item"].is_null().all()

    fixed = {"reduction item": "truncate", "coordinates": 4, "use item text": True}
    only = tuned(full(), events=EVENTS, space=fixed, n_trials=1)
    table = tomllib.loads(model_table(only))["model"]
    assert table["text_channels"]["coordinates"] == {
        "n": 4,
        "by_role": {},
        "reduction": {"query": "pca", "item": "truncate"},
    }
    by_hand = full(**table).set_params(n_estimators=only.best_rounds, early_stopping_rounds=None)
    by_hand.fit(EXAMPLES, LABELS, events=EVENTS)
    vectors = HashEncoder().encode(EXAMPLES["title"].to_list())
    leading = by_hand.matrix(EXAMPLES).values[:, [c.name.startswith("item__text") for c in by_hand.columns_]]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(leading, unit[:, :4], atol=1e-6)
    np.testing.assert_array_equal(only.best_model().predict_proba(EXAMPLES), by_hand.predict_proba(EXAMPLES))
