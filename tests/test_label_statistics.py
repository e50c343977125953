"""Statistics of labels against a slow truth, and the rule that a row's own label never shows in its features."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EXAMPLE_SCHEMA, START, example
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from features import ColumnError, DeclarationError, EmptyFrameError, LabelStatistics, TimestampError

KEYS = ["user_id", ("user_id", "item_id")]
NAMES = {"user_id": ["user_id"], "user_id_x_item_id": ["user_id", "item_id"]}
HORIZONS = {"0s": 0, "1h": 3600, "1d": 86400}

labels = st.lists(st.sampled_from([0.0, 1.0, 2.5, -1.0]), min_size=24, max_size=24)
group = st.sampled_from(["g", "h", "i", "j"])


def by_time(horizon="1d", **options):
    return LabelStatistics(KEYS, timestamp="ts", horizon=horizon, **options)


def by_group(**options):
    return LabelStatistics(KEYS, folds="group", groups="group", **{"n_folds": 2, **options})


def framed(rows, groups=None):
    frame = pl.DataFrame(rows, schema=EXAMPLE_SCHEMA)
    return frame if groups is None else frame.with_columns(pl.Series("group", groups[: len(rows)]))


def brute_force(row, known, strength):
    """The features of a row from the (row, label) pairs that it may know."""
    features = {}
    for name, parts in NAMES.items():
        mine = [y for r, y in known if all(r[p] is not None and r[p] == row[p] for p in parts)]
        mean = sum(y for _, y in known) / len(known) if known else None
        smoothed = (sum(mine) + strength * mean) / (len(mine) + strength) if known else None
        features |= {f"{name}__label_mean": smoothed, f"{name}__label_count": len(mine)}
    return features


def compare(got, i, truth):
    for name, value in truth.items():
        assert got[name][i] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(example, min_size=1, max_size=20),
    asked=st.lists(example, min_size=1, max_size=5),
    y=labels,
    horizon=st.sampled_from(list(HORIZONS)),
)
def test_by_time_equals_a_walk_over_the_rows(rows, asked, y, horizon):
    pairs = list(zip(rows, y, strict=False))
    statistics = by_time(horizon, strength=3.0)
    trained = statistics.fit_transform(framed(rows), y[: len(rows)])
    assert trained.columns == list(statistics.get_feature_names_out())
    used = statistics.transform(framed(asked))
    for got, of in ((trained, rows), (used, asked)):
        for i, row in enumerate(of):
            age = lambda r: (row["ts"] - r["ts"]).total_seconds()  # noqa: E731, B023 - one line of truth, used at once
            known = [(r, label) for r, label in pairs if age(r) >= HORIZONS[horizon] and age(r) > 0]
            compare(got, i, brute_force(row, known, 3.0))


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(example, min_size=4, max_size=20),
    groups=st.lists(group, min_size=20, max_size=20),
    y=labels,
)
def test_by_group_equals_a_walk_over_the_folds(rows, groups, y):
    groups, y = ["g", "h", *groups][: len(rows)], y[: len(rows)]
    frame = framed(rows, groups)
    statistics = by_group(strength=3.0)
    trained = statistics.fit_transform(frame, y)
    folds = {}
    for fold, (_, held) in enumerate(GroupKFold(2).split(groups, groups=_numbers(groups))):
        folds |= dict.fromkeys(held.tolist(), fold)
    pairs = list(zip(rows, y, strict=True))
    for i, row in enumerate(rows):
        compare(trained, i, brute_force(row, [p for j, p in enumerate(pairs) if folds[j] != folds[i]], 3.0))
        compare(statistics.transform(frame.drop("group")), i, brute_force(row, pairs, 3.0))


def _numbers(groups):
    """Groups by the order of their first rows."""
    return [list(dict.fromkeys(groups)).index(one) for one in groups]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), mode=st.sampled_from(["0s", "1h", "group"]), n=st.integers(2, 150))
def test_a_rows_own_label_never_changes_its_features(data, mode, n):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frame = pl.DataFrame({
        "user_id": rng.choice(["a", "b", "c", None], n).tolist(), "item_id": rng.choice(["x", "y", None], n).tolist(),
        "group": [0, 1, *rng.integers(0, 5, n - 2)],
        "ts": [START + timedelta(minutes=int(m)) for m in rng.integers(0, 300, n)],
    })  # fmt: skip
    y = rng.integers(0, 2, n).astype(float) if data.draw(st.booleans()) else rng.normal(size=n)
    statistics = by_group() if mode == "group" else by_time(mode)  # with estimated strengths, which see labels too
    before = statistics.fit_transform(frame, y)
    own = data.draw(st.integers(0, n - 1))
    changed = y.copy()
    changed[own] = data.draw(st.sampled_from([0.0, 1.0, 17.0, -1e6]))
    assert statistics.fit_transform(frame, changed)[own].equals(before[own])


@pytest.mark.parametrize("mode", ["group", "0s", "7d"])
def test_labels_of_pure_chance_stay_pure_chance(mode):
    """The mean of a key of few rows, own label included, tells the label; these must not."""
    rng = np.random.default_rng(0)
    n = 6_000
    frame = pl.DataFrame({
        "user_id": rng.integers(0, 2_000, n), "item_id": ["x"] * n, "group": rng.integers(0, 500, n),
        "ts": [START + timedelta(minutes=int(m)) for m in rng.integers(0, 100_000, n)],
    })  # fmt: skip
    y = rng.integers(0, 2, n)
    leak = frame.with_columns(y=y).select(pl.col("y").mean().over("user_id")).to_series()
    assert roc_auc_score(y, leak) > 0.75
    statistics = by_group() if mode == "group" else by_time(mode)
    got = statistics.fit_transform(frame, y)["user_id__label_mean"].fill_null(0.5)
    assert roc_auc_score(y, got) == pytest.approx(0.5, abs=0.025)
    if mode == "group":  # what the docstring warns of: all labels, the own one too
        assert roc_auc_score(y, statistics.fit(frame, y).transform(frame)["user_id__label_mean"]) > 0.75


def test_the_strength_is_that_of_the_distribution_the_labels_came_from():
    rng = np.random.default_rng(0)
    n_keys, each = 5_000, 20
    users = np.repeat(np.arange(n_keys), each)
    frame = pl.DataFrame({"user_id": users, "group": users})

    def estimated(y):
        one = LabelStatistics(["user_id"], folds="group", groups="group").fit(frame, y)
        got = one.transform(pl.DataFrame({"user_id": [0]}))["user_id__label_mean"][0]
        mine, mean = y[:each], y.mean()
        return (mine.sum() - each * got) / (got - mean)  # the smoothing solved for its strength

    binary = rng.binomial(1, rng.beta(2.0, 18.0, n_keys)[users]).astype(float)
    assert estimated(binary) == pytest.approx(20, rel=0.1)
    numeric = rng.normal(5.0, 2.0, n_keys)[users] + rng.normal(0, 6.0, len(users))
    assert estimated(numeric) == pytest.approx(9, rel=0.1)
    assert estimated(rng.normal(size=len(users))) > 500  # keys alike


def test_by_time_the_strength_is_learned_as_labels_come():
    rng = np.random.default_rng(0)
    n = 4_000
    users = rng.integers(0, 40, n)
    frame = pl.DataFrame(
        {"user_id": users, "item_id": ["x"] * n, "ts": [START + timedelta(minutes=i) for i in range(n)]}
    )
    y = rng.binomial(1, rng.beta(0.5, 0.5, 40)[users])
    got = by_time("0s").fit_transform(frame, y)
    auc = [
        roc_auc_score(y[part], got["user_id__label_mean"].to_numpy()[part]) for part in (slice(1, 200), slice(2000, n))
    ]
    assert 0.6 < auc[0] < auc[1]


def test_clones_and_refits_and_answers_in_kind():
    frame = framed(
        [{"user_id": "a", "item_id": "x", "ts": START + timedelta(days=d)} for d in range(4)], ["g", "h"] * 2
    )
    statistics = by_group().fit(frame, [0, 1, 0, 1])
    again = clone(statistics)
    assert not hasattr(again, "timelines_")
    assert again.get_params() == statistics.get_params()
    with pytest.raises(ColumnError, match="examples has no column 'group'"):
        statistics.fit(frame.drop("group"), [0, 1, 0, 1])
    indexed = frame.to_pandas().set_index(pd.Index([9, 7, 5, 3]))
    answer = by_group().fit_transform(indexed, pd.Series([0, 1, 0, 1]))
    assert list(answer.index) == [9, 7, 5, 3]
    want = by_group().fit_transform(frame, [False, True, False, True])
    np.testing.assert_allclose(answer["user_id__label_mean"], want["user_id__label_mean"])
    assert want["user_id__label_mean"].to_list() == pytest.approx([1.0, 0.0, 1.0, 0.0])


def rows(n=4, **columns):
    base = {"user_id": ["a"] * n, "item_id": ["x"] * n, "ts": [START] * n, "group": list(range(n))}
    return pl.DataFrame({**base, **columns})


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        (by_time(None), 'folds="time" needs timestamp .* and horizon .*not None'),
        (LabelStatistics(KEYS, horizon="7d"), 'folds="time" needs timestamp'),
        (by_time(groups="group"), "takes no groups"),
        (by_time("all"), 'horizon="all" must be a length of time such as "7d", or "0s"'),
        (by_time("a week"), "window 'a week' is not"),
        (LabelStatistics(KEYS, folds="group"), 'folds="group" needs groups'),
        (LabelStatistics(KEYS, folds="group", groups="group", horizon="7d"), "takes neither timestamp nor horizon"),
        (LabelStatistics(KEYS, folds="groups"), r"folds='groups' is unknown; did you mean 'group'\?"),
        (LabelStatistics("user_id"), "keys must be a list"),
        (LabelStatistics(["user_id", ("user_id",)]), "hold one twice"),
        (by_group(n_folds=1), "n_folds=1 must be a whole number, at least 2"),
        (by_group(n_folds=5), r"4 groups in \['group'\] cannot fill n_folds=5 folds"),
        (by_group(strength=0), "strength=0 must be a number above 0"),
        (by_group(strength="2"), "strength='2' must be a number above 0"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(statistics, message):
    with pytest.raises(DeclarationError, match=message):
        statistics.fit_transform(rows(), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("examples", "y", "error", "message"),
    [
        (rows(), [0, 1, None, float("nan")], ColumnError, "y has 2 null, NaN or infinite labels in 4 rows; drop"),
        (rows(), [0, 1, 1], ColumnError, "y has 3 labels for 4 rows"),
        (rows(), ["no", "yes"] * 2, ColumnError, "labels must be numbers or booleans, not String"),
        (rows(), [[0, 1]] * 4, ColumnError, r"y must be one column of labels, not of shape \(4, 2\)"),
        (rows(group=[1, None, None, 2]), [0, 1, 0, 1], ColumnError, r"groups \['group'\] .* nulls in 2 of 4 rows"),
        (
            rows().rename({"user_id": "userid"}),
            [0, 1, 0, 1],
            ColumnError,
            r"no column 'user_id'; did you mean 'userid'\?",
        ),
        (rows()[:0], [], EmptyFrameError, "examples is empty"),
        (rows(user_id=[0.5] * 4), [0, 1, 0, 1], ColumnError, "must hold strings or integers, not Float64"),
    ],
)
def test_bad_rows_and_labels_are_refused(examples, y, error, message):
    with pytest.raises(error, match=message):
        by_group().fit_transform(examples, y)


def test_times_with_and_without_a_zone_are_not_compared():
    statistics = by_time().fit(rows(), [0, 1, 0, 1])
    with pytest.raises(TimestampError, match="'ts' of examples and that of the fitted rows must both have a time zone"):
        statistics.transform(rows().with_columns(pl.col("ts").dt.replace_time_zone("UTC")))
