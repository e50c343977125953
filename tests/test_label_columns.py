"""Statistics of labels as a group of a model: the columns equal those made by hand, and no row, fold or held-out row sees its own label."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from encoders import HashEncoder
from shop import START, hybrid, shop
from sklearn.base import clone
from sklearn.model_selection import GroupShuffleSplit

from features import ColumnError, DeclarationError, LabelStatistics, TimestampError
from hybrid import Blend, HybridClassifier, ParameterError, TextEncoder, load, score_parquet
from tuning import StudyError, tune

N, NEW = 600, 200
GROUP = "label statistics"
BY_TIME = LabelStatistics(["user", ("user", "item")], timestamp="ts", horizon="1d")
BY_GROUP = LabelStatistics(["user", ("user", "item")], folds="group", groups="shop", n_folds=3)
FAST = {"numeric": ["price"], "n_estimators": 15, "max_depth": 3, "learning_rate": 0.3, "n_jobs": 1}


def draw(n: int, seed: int, signal: float = 3.0) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows of users of whom some buy often; without signal their labels are pure chance."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 40, n)
    likely = np.random.default_rng(0).random(40)
    X = pl.DataFrame({
        "user": users, "item": rng.choice(["hat", "shoe", None], n).tolist(), "shop": rng.integers(0, 12, n), "price": rng.random(n),
        "ts": [START + timedelta(minutes=int(m)) for m in rng.integers(0, 60_000, n)],
    })  # fmt: skip
    return X, rng.random(n) < 1 / (1 + np.exp(-signal * 2 * (likely[users] - 0.5)))


X, Y = draw(N, 1)
NEW_X, NEW_Y = draw(NEW, 2)
OF_THREE = np.array(["buy", "look", "leave"])[np.where(Y, 0, 1 + (X["price"] > 0.5).to_numpy())]


def model(statistics: LabelStatistics | None = BY_TIME, **options) -> HybridClassifier:
    return HybridClassifier(**{"label_statistics": statistics, "early_stopping_rounds": None, **FAST, **options})


def by_hand(features: list[str], **options) -> HybridClassifier:
    """A model that reads the same columns as numbers of the examples."""
    return model(None, **options, numeric=["price", *features])


@pytest.mark.parametrize("statistics", [BY_TIME, BY_GROUP], ids=["time", "group"])
def test_a_model_scores_as_one_that_reads_the_columns_made_by_hand(statistics):
    made = clone(statistics)
    training = made.fit_transform(X, Y)
    stops = {"early_stopping_rounds": 3}
    fitted = model(statistics, **stops).fit(X, Y, eval_set=(NEW_X, NEW_Y))
    same = by_hand(training.columns, **stops).fit(
        X.hstack(training), Y, eval_set=(NEW_X.hstack(made.transform(NEW_X)), NEW_Y)
    )
    np.testing.assert_array_equal(fitted.predict_proba(NEW_X), same.predict_proba(NEW_X.hstack(made.transform(NEW_X))))
    assert [column.name for column in fitted.columns_ if column.group == GROUP] == training.columns
    assert fitted.booster_.best_iteration == same.booster_.best_iteration
    assert not hasattr(statistics, "log_")


@pytest.mark.parametrize("statistics", [BY_TIME, BY_GROUP], ids=["time", "group"])
def test_rounds_are_found_on_rows_that_have_their_columns_from_the_others_labels(statistics):
    groups, slow = X["shop"].to_numpy(), {"early_stopping_rounds": 5, "n_estimators": 200, "learning_rate": 0.1}
    found = model(statistics, **slow).fit(X, Y, groups=groups)
    train, held = next(GroupShuffleSplit(1, test_size=0.1, random_state=0).split(groups, groups=groups))
    made = clone(statistics)
    training = made.fit_transform(X[train], Y[train])
    same = by_hand(training.columns, **slow).fit(
        X[train].hstack(training), Y[train], eval_set=(X[held].hstack(made.transform(X[held])), Y[held])
    )
    assert found.booster_.best_iteration == same.booster_.best_iteration < 200


def test_each_of_more_than_two_classes_has_a_mean_and_a_key_one_count():
    fitted = model(BY_GROUP).fit(X, OF_THREE)
    names = [column.name for column in fitted.columns_ if column.group == GROUP]
    assert names[:4] == [
        "user__label_mean__buy",
        "user__label_mean__leave",
        "user__label_mean__look",
        "user__label_count",
    ]
    values = dict(zip([c.name for c in fitted.columns_], fitted.matrix(NEW_X).numpy().T, strict=True))
    for label in fitted.classes_:
        expected = clone(BY_GROUP).fit(X, label == OF_THREE).transform(NEW_X)
        for key in ("user", "user_x_item"):
            np.testing.assert_allclose(values[f"{key}__label_mean__{label}"], expected[f"{key}__label_mean"], rtol=1e-6)
            np.testing.assert_array_equal(values[f"{key}__label_count"], expected[f"{key}__label_count"])
    with pytest.raises(ParameterError, match="mean of each class, of at most 16; y has 17: leave label_statistics out"):
        model().fit(X, np.arange(N) % 17)


@pytest.mark.parametrize("labels", [Y, OF_THREE], ids=["two classes", "three classes"])
@pytest.mark.parametrize("zone", [None, "Asia/Shanghai"])
@pytest.mark.parametrize("statistics", [BY_TIME, BY_GROUP], ids=["time", "group"])
def test_an_artifact_scores_to_the_bit_and_keeps_keys_times_and_labels_alone(statistics, zone, labels, tmp_path):
    rows, new = (frame.with_columns(pl.col("ts").dt.replace_time_zone(zone)) for frame in (X, NEW_X))
    fitted = model(statistics).fit(rows, labels)
    fitted.save(tmp_path / "artifact")
    loaded = load(tmp_path / "artifact")
    proba = fitted.predict_proba(new)
    np.testing.assert_array_equal(loaded.predict_proba(new), proba)
    assert loaded.get_params()["label_statistics__folds"] == statistics.folds
    kept = pl.read_parquet(tmp_path / "artifact" / "label_statistics.parquet")
    assert kept.columns == ["user", "item", "__time", "__label"]
    assert kept.height == N
    needed = {"user", "item", "price", *(["ts"] if statistics is BY_TIME else [])}
    assert set(loaded.required_columns()) == needed
    new.select(needed).write_parquet(tmp_path / "new.parquet")
    [scores] = score_parquet(tmp_path / "artifact", tmp_path / "new.parquet", tmp_path / "scores", batch_rows=33)
    np.testing.assert_array_equal(pl.read_parquet(scores).select(pl.col("^proba_.*$")).to_numpy(), proba)
    if statistics is BY_TIME:
        other = None if zone else "UTC"
        with pytest.raises(TimestampError, match="must both have a time zone or neither"):
            loaded.predict_proba(new.with_columns(pl.col("ts").dt.replace_time_zone(other)))


def test_every_kind_of_evidence_goes_with_it_and_a_blend_is_an_artifact(tmp_path):
    rows, y, events = shop(300)
    statistics = LabelStatistics(["item"], timestamp="ts", horizon="2d")
    whole = hybrid(label_statistics=statistics, head="feature").fit(rows, y, events=events)
    alone = HybridClassifier(label_statistics=statistics, n_estimators=5, n_jobs=1).fit(rows, y)
    assert {column.group for column in alone.columns_} == {GROUP}
    without = hybrid(label_statistics=statistics, without=[GROUP]).fit(rows, y, events=events)
    plain = hybrid().fit(rows, y, events=events)
    np.testing.assert_array_equal(without.predict_proba(rows), plain.predict_proba(rows))
    blend = Blend((whole, alone), (0.5, 0.5))
    blend.save(tmp_path / "blend")
    loaded = load(tmp_path / "blend", encoder=HashEncoder())
    np.testing.assert_array_equal(loaded.predict_proba(rows), blend.predict_proba(rows))
    explained = whole.explain(rows[:20])
    np.testing.assert_allclose(explained.drop("margin").sum_horizontal(), explained["margin"], atol=1e-4)
    assert GROUP in explained.columns


def test_a_report_shows_what_the_group_is_worth():
    fitted = model(BY_GROUP).fit(X, Y)
    report = fitted.report(NEW_X, NEW_Y, ablation_folds=2)
    worth = report.groups.row(by_predicate=pl.col("group") == GROUP, named=True)
    assert worth["permutation_low"] > 0
    lost = report.ablation.filter(dropped=GROUP, metric="log_loss")["difference"].item()
    assert lost > 0.02


def test_a_model_in_a_new_domain_keeps_its_labels_unless_it_is_refitted(tmp_path):
    fitted = model(BY_GROUP).fit(X, ~Y)
    few, labels = NEW_X[:100], NEW_Y[:100]
    as_known = fitted.matrix(NEW_X).numpy()
    adapted = fitted.adapt(few, labels)
    np.testing.assert_array_equal(adapted.matrix(NEW_X).numpy(), as_known)
    refitted = model(BY_GROUP, booster="lightgbm").fit(X, ~Y).adapt(few, labels, source=(X, Y))
    assert refitted.adaptation_.way.startswith("refit")
    both = clone(BY_GROUP).fit(pl.concat([X, few]), np.concatenate([Y, labels])).transform(NEW_X)
    np.testing.assert_allclose(refitted.matrix(NEW_X).numpy()[:, 1], both["user__label_mean"], rtol=1e-6)
    refitted.save(tmp_path / "artifact")
    np.testing.assert_array_equal(load(tmp_path / "artifact").predict_proba(NEW_X), refitted.predict_proba(NEW_X))


def test_scikit_learn_conventions():
    declared = model(clone(BY_GROUP)).set_params(label_statistics__strength=4.0)
    again = clone(declared)
    assert again.label_statistics is not declared.label_statistics
    assert again.label_statistics.strength == 4.0
    assert model(None).label_statistics is None


# Studies

CV = [(np.arange(0, 400), np.arange(400, N)), (np.arange(200, N), np.arange(0, 200))]
FIXED = {
    "booster": "xgboost", "max_depth": 3, "learning_rate": 0.3, "min_child_weight": 1.0, "subsample": 1.0, "colsample": 1.0,
    "reg_lambda": 1.0, "reg_alpha": 0.0,
}  # fmt: skip


def value(declared: HybridClassifier, rows: pl.DataFrame, y: np.ndarray, **options) -> float:
    """The mean log loss of the one trial of a study."""
    chosen = {"cv": CV, "n_trials": 1} | options
    return tune(declared, rows, y, **chosen | {"space": FIXED | chosen.get("space", {})}).best_value


@pytest.mark.parametrize("statistics", [BY_TIME, BY_GROUP], ids=["time", "group"])
def test_a_fold_reads_the_labels_of_its_own_training_rows_alone(statistics):
    losses = []
    for train, valid in CV:
        made = clone(statistics)
        training = made.fit_transform(X[train], Y[train])
        rows = pl.concat([X[train].hstack(training), X[valid].hstack(made.transform(X[valid]))])
        split = [(np.arange(len(train)), np.arange(len(train), N))]
        losses.append(value(by_hand(training.columns), rows, Y[np.concatenate([train, valid])], cv=split))
    assert value(model(statistics), X, Y) == pytest.approx(np.mean(losses), abs=1e-7)


def test_workers_and_blends_read_the_same_columns():
    study = tune(model(BY_GROUP), X, Y, cv=CV, n_trials=2, isolate=True, random_state=1)
    assert (
        study.trials["value"].to_list()
        == tune(model(BY_GROUP), X, Y, cv=CV, n_trials=2, random_state=1).trials["value"].to_list()
    )
    assert study.best_models(2).predict_proba(NEW_X).shape == (NEW, 2)


def test_a_study_goes_on_with_the_same_statistics_alone(tmp_path):
    kept = {"cv": CV, "n_trials": 1, "storage": tmp_path / "study.log", "space": FIXED}
    tune(model(BY_GROUP), X, Y, **kept)
    with pytest.raises(StudyError, match="model's label_statistics was"):
        tune(model(clone(BY_GROUP).set_params(n_folds=4)), X, Y, **kept)
    with pytest.raises(StudyError, match="examples"):
        tune(model(BY_GROUP), X.with_columns(shop=pl.col("shop") + 1), Y, **kept)
    assert tune(model(BY_GROUP), X, Y, **kept).trials.height == 2


def test_the_group_is_switched_and_its_worth_shows_in_the_trials():
    on, off = (value(model(BY_TIME), X, Y, cv="time", space={f"use {GROUP}": kept}) for kept in (True, False))
    assert on < off - 0.02
    best = tune(model(BY_TIME), X, Y, n_trials=1, holdout=0.2, space=FIXED | {f"use {GROUP}": False})
    assert best.best_model().without == [GROUP]
    assert best.holdout_score().rows == N // 5


@pytest.mark.parametrize("statistics", [LabelStatistics(["user", "pair"], timestamp="ts", horizon="0s"),
                                        LabelStatistics(["user", "pair"], folds="group", groups="shop")],
                         ids=["time", "group"])  # fmt: skip
def test_labels_of_pure_chance_gain_nothing(statistics):
    """Keys of few rows: a fold that saw its validation labels, or rows that saw their own, would seem to predict them."""
    rows, y = draw(1_500, 4, signal=0.0)
    rows = rows.with_columns(pair=pl.col("user") * 100 + pl.col("shop"))
    leak = rows.with_columns(y=y).select(pl.col("y").mean().over("pair")).to_series()
    options = {"cv": "stratified", "folds": 3}
    without = value(model(None), rows, y, **options)
    assert (
        value(by_hand(["leak"]), rows.with_columns(leak=leak), y, **options) < without - 0.05
    )  # that is what a leak looks like
    assert value(model(statistics), rows, y, **options) > without - 0.005
    train, new = rows[:1_000], rows[1_000:]
    found = [model(one, early_stopping_rounds=10, n_estimators=100).fit(train, y[:1_000]) for one in (statistics, None)]
    losses = [-np.log(one.predict_proba(new)[np.arange(500), y[1_000:].astype(int)]).mean() for one in found]
    assert abs(losses[0] - np.log(2)) < abs(losses[1] - np.log(2)) + 0.02


# What is refused


def test_what_cannot_be_learned_from_is_refused_before_any_work():
    rows, y, events = shop(60)
    encoder = HashEncoder()
    statistics = LabelStatistics(["user"], timestamp="ts", horizon="1d")

    def fit(one, change=lambda frame: frame, **options):
        declared = hybrid(label_statistics=one, encoder=TextEncoder(encoder, store=None), **options)
        declared.fit(change(rows), y, events=events)

    with pytest.raises(ParameterError, match=r"label_statistics must be a features.LabelStatistics, not str"):
        fit("user")
    with pytest.raises(DeclarationError, match='folds="time" needs timestamp'):
        fit(LabelStatistics(["user"]))
    with pytest.raises(ColumnError, match=r"no column 'usr'; did you mean 'user'\?"):
        fit(LabelStatistics(["usr"], timestamp="ts", horizon="1d"))
    with pytest.raises(ColumnError, match="no column 'shop'"):
        fit(LabelStatistics(["user"], folds="group", groups="shop"))
    with pytest.raises(ParameterError, match=r"did you mean 'label statistics'\?"):
        model(statistics, without=["label statistic"]).fit(rows, y)
    with pytest.raises(ColumnError, match="no column 'usr'"):
        tune(hybrid(label_statistics=LabelStatistics(["usr"], timestamp="ts", horizon="1d")), rows, y, events)
    assert encoder.texts == []
    fitted = model(statistics).fit(rows, y)
    with pytest.raises(ColumnError, match="examples has no column 'ts'"):
        fitted.predict_proba(rows.drop("ts"))
