"""Behaviour features that read the model's own text vectors: in training, in scoring, and from an artifact."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from encoders import HashEncoder
from shop import FAST, shop

from features import BehaviorFeatures, EventLog, Similar
from hybrid import HybridClassifier, ParameterError, TextEncoder, load

LOG = EventLog(user="user", item="item", timestamp="ts")
ENCODER = TextEncoder(HashEncoder(), store=None)


def model(*families, **options):
    behavior = BehaviorFeatures(LOG, keys=[("user", "item"), "item"], windows=["all"], families=list(families))
    text = {"query": "query", "item": ["title", "brand"]}
    return HybridClassifier(text=text, behavior=behavior, encoder=ENCODER, **{**FAST, **options})


def test_text_stands_for_the_vectors_of_the_items_texts():
    examples, y, events = shop()
    fitted = model(Similar(part="item", min_similarity=0.1)).fit(examples, y, events=events)
    texts = examples.unique("item", keep="first", maintain_order=True)
    joined = texts["title"] + pl.Series([f". {brand}" if brand else "" for brand in texts["brand"]])
    table = pl.DataFrame({"id": texts["item"], "vector": ENCODER.encode(joined).tolist()})
    by_table = model(Similar(part="item", min_similarity=0.1, vectors=table)).fit(examples, y, events=events)
    np.testing.assert_array_equal(fitted.matrix(examples).values, by_table.matrix(examples).values)
    assert {column.family for column in fitted.columns_ if "similar" in column.name} == {"similar"}


def test_an_item_that_training_did_not_see_gets_its_vector_from_its_own_text():
    examples, y, events = shop()
    fitted = model(Similar(part="item", min_similarity=0.1)).fit(examples, y, events=events)
    new = examples[:3].with_columns(item=pl.lit(99))
    names = [column.name for column in fitted.columns_]
    found = fitted.matrix(new).values[:, names.index("item__similar_event__all")]
    twins = fitted.matrix(examples[:3]).values[:, names.index("item__similar_event__all")]
    assert (found > 0).all()
    np.testing.assert_allclose(found, twins, rtol=0.5)


@pytest.mark.parametrize("vectors", ["text", "table"])
def test_an_artifact_scores_as_the_model_did(vectors, tmp_path):
    examples, y, events = shop()
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"id": range(6), "vector": rng.normal(size=(6, 4)).tolist()})
    family = Similar(part="item", vectors=table if vectors == "table" else "text", min_similarity=0.1)
    fitted = model(family).fit(examples, y, events=events)
    fitted.save(tmp_path / "artifact")
    loaded = load(tmp_path / "artifact", encoder=ENCODER)
    np.testing.assert_array_equal(loaded.predict_proba(examples), fitted.predict_proba(examples))


def test_text_of_a_part_that_is_no_role_is_refused_before_any_encoding():
    examples, y, events = shop()
    with pytest.raises(ParameterError, match=r"vectors=\"text\" of 'user', which is no text role"):
        model(Similar(part="user")).fit(examples, y, events=events)


def test_vectors_of_an_object_cannot_be_saved_and_say_so(tmp_path):
    examples, y, events = shop()
    fitted = model(Similar(part="item", vectors=HashEncoder())).fit(examples, y, events=events)
    with pytest.raises(ParameterError, match="'similar' reads vectors from an object that an artifact cannot hold"):
        fitted.save(tmp_path / "artifact")
