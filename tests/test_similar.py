"""Semantic back-off against a walk over the log, and its neighbours against exact search."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from asof import assert_live_equals_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example

from features import BehaviorFeatures, ColumnError, DeclarationError, EventLog, Similar
from features.families import FAMILIES
from features.family import declare
from features.neighbors import NeighborIndex

pytestmark = pytest.mark.filterwarnings("ignore:event .* never occurs")

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts", values=["price"])
SECONDS = {"1d": 86400, "all": math.inf}
VECTORS = {"a": [1.0, 0.0], "b": [0.8, 0.6], "c": [0.6, 0.8], "new": [0.9, 0.1]}
TABLE = pl.DataFrame({"id": list(VECTORS), "vector": list(VECTORS.values())})


def behavior(keys=("user", ("user", "item")), **options):
    similar = Similar(part="user", vectors=TABLE, **{"n_neighbors": 2, "min_similarity": 0.5, **options})
    return BehaviorFeatures(
        LOG, keys=list(keys), windows=list(SECONDS), events=EVENTS, rates={"cvr": ("buy", "view")}, families=[similar]
    )


def brute_force(rows, example, priors, k=2, floor=0.5, power=2.0):
    """The features of one example, from the declaration in words."""
    unit = {name: np.array(v) / np.linalg.norm(v) for name, v in VECTORS.items()}
    past = [r for r in rows if r["ts"] < example["ts"] and r["event"] in EVENTS]
    seen = {r["user_id"] for r in past} - {None}
    me, weight = example["user_id"], {}
    if me is not None:
        near = sorted(((float(unit[me] @ unit[other]), other) for other in seen), reverse=True)[:k]
        weight = {other: ((c - floor) / (1 - floor)) ** power for c, other in near if c >= floor}
    features = {}
    for window, seconds in SECONDS.items():
        held = [r for r in past if (example["ts"] - r["ts"]).total_seconds() <= seconds and r["user_id"] in weight]
        alone, pair = {}, {}
        for kind in EVENTS:
            of = [r for r in held if r["event"] == kind]
            alone[kind] = sum(weight[r["user_id"]] for r in of)
            same = [r for r in of if r["item_id"] is not None and r["item_id"] == example["item_id"]]
            pair[kind] = sum(weight[r["user_id"]] for r in same)
            features[f"user__similar_{kind}__{window}"] = alone[kind]
            features[f"user_x_item__similar_{kind}__{window}"] = pair[kind]
            share = pair[kind] / alone[kind] if alone[kind] else None
            features[f"user_x_item__similar_{kind}_share__{window}"] = share
        for key, counts in (("user", alone), ("user_x_item", pair)):
            prior = priors[f"{key}__cvr"]
            smooth = (counts["buy"] + prior.alpha) / (counts["view"] + prior.strength)
            features[f"{key}__similar_cvr__{window}"] = smooth
    return features


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(event, min_size=1, max_size=25), examples=st.lists(example, min_size=1, max_size=8))
def test_similar_keys_equal_a_walk_over_the_log(rows, examples):
    fitted = behavior().fit(pl.DataFrame(rows, schema=EVENT_SCHEMA))
    got = fitted.transform(pl.DataFrame(examples, schema=EXAMPLE_SCHEMA))
    names = [column.name for column in fitted.columns() if column.family == "similar"]
    for i, one in enumerate(examples):
        truth = brute_force(rows, one, fitted.priors_)
        assert set(truth) == set(names)
        for name, value in truth.items():
            assert got[name][i] == (value if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), name


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(event, min_size=2, max_size=25), examples=st.lists(example, min_size=1, max_size=5))
def test_live_features_equal_the_batch(rows, examples):
    log = pl.DataFrame(rows, schema=EVENT_SCHEMA)
    half = len(rows) // 2
    assert_live_equals_batch(behavior().fit(log[:half]), log, pl.DataFrame(examples, schema=EXAMPLE_SCHEMA), half)


def many(n_users: int, n: int, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    log = pl.DataFrame({
        "user_id": rng.integers(0, n_users, n), "item_id": rng.integers(0, 20, n), "event": rng.choice(EVENTS, n),
        "ts": [START + timedelta(seconds=int(s)) for s in rng.integers(0, 200_000, n)], "price": rng.random(n),
    })  # fmt: skip
    vectors = rng.normal(size=(n_users, 8)) + 2 * rng.normal(size=(20, 8))[rng.integers(0, 20, n_users)]
    return log, pl.DataFrame({"id": np.arange(n_users), "vector": vectors.tolist()})


def test_a_key_that_the_log_does_not_have_finds_neighbours_without_a_refit():
    fitted = behavior(["user"]).fit(pl.DataFrame([{"user_id": "a", "event": "view", "ts": START}], EVENT_SCHEMA))
    asked = pl.DataFrame([{"user_id": "new", "item_id": "x", "ts": START + timedelta(hours=1)}], EXAMPLE_SCHEMA)
    assert fitted.transform(asked)["user__similar_view__all"][0] > 0.9


def test_blocks_change_nothing(monkeypatch):
    log, vectors = many(60, 2_000)
    similar = Similar(part="user", vectors=vectors, n_neighbors=5)
    fitted = BehaviorFeatures(LOG, [("user", "item")], ["1d"], families=[similar]).fit(log)
    whole = fitted.transform(log[:300])
    monkeypatch.setattr("features.similar._EXPANDED", 50)
    monkeypatch.setattr("features.neighbors._FLOATS", 500)
    assert fitted.transform(log[:300]).equals(whole)


def test_the_approximate_index_finds_nearly_all_exact_neighbours():
    pytest.importorskip("usearch", reason="the approximate index needs the package usearch")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 32))
    vectors = centres[rng.integers(0, 200, 20_000)] + 0.5 * rng.normal(size=(20_000, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    exact = NeighborIndex(vectors, exact_up_to=50_000).search(vectors[:100], 20, 0.3)
    near = NeighborIndex(vectors, exact_up_to=1_000).search(vectors[:100], 20, 0.3)
    found = [
        len(set(exact.places[a:b]) & set(near.places[c:d])) / (b - a)
        for a, b, c, d in zip(exact.starts, exact.starts[1:], near.starts, near.starts[1:], strict=False)
    ]
    assert np.mean(found) > 0.95
    np.testing.assert_allclose(near.similarity[near.starts[:-1]], 1, atol=1e-5)  # itself comes first


@pytest.mark.parametrize("alike", [False, True])
def test_keys_of_the_future_push_out_none_of_the_past(alike):
    rng = np.random.default_rng(0)
    log, vectors = many(300, 2_000)
    if alike:  # ties everywhere: which of the equal keys are neighbours must not depend on later ones
        vectors = vectors.with_columns(vector=pl.Series(rng.normal(size=(3, 8))[rng.integers(0, 3, 300)].tolist()))
    similar = Similar(part="user", vectors=vectors, n_neighbors=2, min_similarity=0.0)
    fitted = BehaviorFeatures(LOG, ["user", ("user", "item")], ["all"], families=[similar]).fit(log)
    for seconds in (300, 3_000, 30_000, 100_000):
        cut = START + timedelta(seconds=seconds)
        asked = log[:200].with_columns(ts=pl.lit(cut))
        before = fitted.transform(asked, events=log.filter(pl.col("ts") < cut))
        for name in before.columns:
            np.testing.assert_allclose(fitted.transform(asked)[name], before[name], rtol=1e-12, atol=1e-12)


def test_a_search_among_the_first_equals_sorting_them():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    vectors = (
        np.concatenate([vectors, vectors[:50]])
        / np.linalg.norm(np.concatenate([vectors, vectors[:50]]), axis=1)[:, None]
    )
    targets, first = vectors[:60], rng.integers(0, 451, 60)
    found = NeighborIndex(vectors, exact_up_to=1_000).search_first(targets, first, 5, 0.2)
    for row, (low, high) in enumerate(zip(found.starts, found.starts[1:], strict=False)):
        cosines = [float(np.dot(targets[row].astype(float), v.astype(float))) for v in vectors[: first[row]]]
        nearest = sorted((-c, place) for place, c in enumerate(cosines) if c >= 0.2)[:5]
        np.testing.assert_allclose(-found.similarity[low:high], [c for c, _ in nearest])
        assert len(set(found.places[low:high])) == high - low


def test_without_the_package_a_large_log_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    log, vectors = many(60, 2_000)
    similar = Similar(part="user", vectors=vectors, exact_up_to=10)
    fitted = BehaviorFeatures(LOG, ["user"], ["1d"], families=[similar]).fit(log)
    with pytest.raises(ModuleNotFoundError, match=r"60 keys are more than exact_up_to=10.*pip install 'intentree"):
        fitted.transform(log[:3])


def test_an_object_that_encodes_serves_as_vectors():
    class Encoder:
        def encode(self, texts):
            return [VECTORS[text] for text in texts]

    rows = [{"user_id": u, "item_id": "x", "event": "view", "ts": START} for u in "abc"]
    asked = pl.DataFrame([{"user_id": "new", "item_id": "x", "ts": START + timedelta(hours=1)}], EXAMPLE_SCHEMA)
    log = pl.DataFrame(rows, EVENT_SCHEMA)
    similar = Similar(part="user", vectors=Encoder(), n_neighbors=2)
    by_object = BehaviorFeatures(LOG, ["user"], ["all"], families=[similar]).fit(log).transform(asked)
    by_table = behavior(["user"]).fit(log).transform(asked)
    assert by_object["user__similar_view__all"].equals(by_table["user__similar_view__all"])


def test_declaration_and_tables_restore_the_features():
    log, vectors = many(30, 500)
    similar = Similar(part="user", vectors=vectors, n_neighbors=5)
    fitted = BehaviorFeatures(LOG, ["user"], ["1d"], rates={"cvr": ("buy", "view")}, families=[similar]).fit(log)
    declaration = json.loads(json.dumps(fitted.declaration()))
    restored = BehaviorFeatures.restore(declaration, fitted.log_, fitted.tables())
    assert restored.transform(log[:50]).equals(fitted.transform(log[:50]))
    with pytest.raises(DeclarationError, match="similar: vectors are missing"):
        BehaviorFeatures.restore(declaration, fitted.log_).transform(log[:50])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors=0 must be at least 1"),
        ({"min_similarity": 1.0}, r"min_similarity=1.0 in \[0, 1\)"),
        ({"vectors": "txt"}, "vectors='txt' must be a table, an object with encode"),
        ({"vectors": 3}, "vectors must be a table or an object with encode, not 3"),
        ({"part": "query"}, "'similar' can describe none of the keys user; give it keys"),
        ({"events": ["vew"]}, r"similar uses event 'vew', which is not declared; did you mean 'view'\?"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(options, message):
    log, vectors = many(30, 500)
    with pytest.raises(DeclarationError, match=message):
        BehaviorFeatures(
            LOG, ["user"], ["1d"], events=EVENTS, families=[Similar(**{"part": "user", "vectors": vectors, **options})]
        ).fit(log)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pl.DataFrame({"id": [1, 1], "v": [[1.0], [2.0]]}), "column 'id' of vectors holds an id twice"),
        (pl.DataFrame({"id": [1, 2], "v": [[1.0], [2.0, 1.0]]}), "'v' are of 2 different lengths"),
        (pl.DataFrame({"id": [1, 2], "v": [[1.0], [math.nan]]}), "'v' hold NaN or infinite"),
        (pl.DataFrame({"id": [1, 2], "v": [1.0, 2.0]}), "must hold lists of numbers"),
        (pl.DataFrame({"id": [1, 2]}), "two columns, ids and vectors"),
    ],
)
def test_a_bad_table_of_vectors_is_refused(table, message):
    with pytest.raises(ColumnError, match=message):
        Similar(part="user", vectors=table)


def test_a_table_of_options_declares_a_family():
    assert declare(FAMILIES, {"family": "similar", "part": "query", "n_neighbors": 7}).n_neighbors == 7
    with pytest.raises(DeclarationError, match=r"no family of behaviour features 'similr'; did you mean 'similar'\?"):
        declare(FAMILIES, {"family": "similr"})
    with pytest.raises(DeclarationError, match=r"'similar' has no option 'neighbors'; did you mean 'n_neighbors'\?"):
        declare(FAMILIES, {"family": "similar", "neighbors": 7})
