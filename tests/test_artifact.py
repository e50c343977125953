"""The artifact: the same scores in a new process, and nothing altered gets past `load`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from encoders import HashEncoder
from shop import hybrid, shop

from hybrid import ArtifactError, EncoderError, HybridClassifier, ParameterError, TextEncoder, load

SCORE_IN_NEW_PROCESS = """
import sys
import numpy as np, polars as pl
sys.path.insert(0, "tests")
from encoders import HashEncoder
from hybrid import load
folder, examples, scores = sys.argv[1:]
np.save(scores, load(folder, encoder=HashEncoder()).predict_proba(pl.read_parquet(examples)))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts") / "artifact"
    X, y, events = shop()
    model = hybrid().fit(X, np.where(y, "buy", "leave"), events=events)
    model.save(folder)
    return folder, model, X


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
def test_scores_in_a_new_process_are_the_same_to_the_bit(booster, tmp_path):
    X, y, events = shop()
    events = events.with_columns(title=pl.lit("red shoe"), brand=pl.lit("Acme"))
    model = hybrid(booster=booster, text_channels={"coordinates": 4, "recent_interest": 3}).fit(X, y, events=events)
    model.save(tmp_path / "artifact")
    X.write_parquet(tmp_path / "examples.parquet")
    arguments = [str(tmp_path / name) for name in ("artifact", "examples.parquet", "scores.npy")]
    root = Path(__file__).parent.parent
    subprocess.run(
        [sys.executable, "-c", SCORE_IN_NEW_PROCESS, *arguments],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), model.predict_proba(X))


def test_a_loaded_model_predicts_explains_and_reports(saved):
    folder, model, X = saved
    loaded = load(folder, encoder=HashEncoder())
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.explain(X[:5]).equals(model.explain(X[:5]))
    assert loaded.get_params()["max_depth"] == model.max_depth
    assert loaded.columns_ == model.columns_
    again = folder.parent / "again"
    loaded.save(again)
    np.testing.assert_array_equal(load(again, encoder=HashEncoder()).predict_proba(X), model.predict_proba(X))


def test_integer_and_boolean_labels_come_back_as_such(tmp_path):
    X, _, _ = shop(100)
    for i, y in enumerate([X["price"] > 0.5, (X["price"] * 3).cast(int)]):
        model = HybridClassifier(numeric=["price"], n_estimators=5, n_jobs=1).fit(X, y)
        model.save(tmp_path / str(i))
        loaded = load(tmp_path / str(i))
        assert loaded.classes_.dtype == model.classes_.dtype
        assert loaded.predict(X).tolist() == model.predict(X).tolist()


def test_the_artifact_holds_no_pickle_and_names_its_versions(saved):
    folder, _, _ = saved
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".ubj", ".txt", ".parquet", ".safetensors"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"]["xgboost"]
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {"manifest.json"}


@pytest.fixture
def copied(saved, tmp_path):
    return Path(shutil.copytree(saved[0], tmp_path / "copy"))


def test_every_altered_truncated_or_missing_file_is_named(copied):
    for path in sorted(copied.iterdir()):
        content = path.read_bytes()
        for altered in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), content + b" \n1"):
            path.write_bytes(altered)
            with pytest.raises(ArtifactError, match=path.name):
                load(copied, encoder=HashEncoder())
        path.unlink()
        with pytest.raises(ArtifactError, match=path.name):
            load(copied, encoder=HashEncoder())
        path.write_bytes(content)
    load(copied, encoder=HashEncoder())


def test_a_manifest_edited_with_care_is_still_refused(copied):
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["classes"]["values"] = manifest["classes"]["values"][::-1]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="was changed"):
        load(copied, encoder=HashEncoder())


def test_a_text_encoder_given_to_load_keeps_its_own_store(saved, tmp_path):
    folder, model, X = saved
    encoder = TextEncoder(HashEncoder(), store=tmp_path / "vectors")
    np.testing.assert_array_equal(load(folder, encoder=encoder).predict_proba(X), model.predict_proba(X))
    assert encoder.store.nbytes > 0
    with pytest.raises(EncoderError, match="dim=8, the one described None"):
        load(folder, encoder=TextEncoder(HashEncoder(), dim=8))


def test_another_encoder_than_the_fitted_one_is_refused(saved):
    class Other(HashEncoder):
        def encode(self, texts):
            return super().encode([f"other {text}" for text in texts])

    with pytest.raises((ArtifactError, EncoderError), match=r"fingerprint|encoder"):
        load(saved[0], encoder=Other())
    with pytest.raises((ArtifactError, EncoderError), match="HashEncoder"):
        load(saved[0])


def test_saving_spares_a_folder_that_is_no_artifact_and_replaces_one_that_is(saved, tmp_path):
    _, model, X = saved
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is no artifact"):
        model.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    model.save(tmp_path / "new")
    model.save(tmp_path / "new")
    np.testing.assert_array_equal(
        load(tmp_path / "new", encoder=HashEncoder()).predict_proba(X), model.predict_proba(X)
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_without_an_artifact_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="has no manifest"):
        load(tmp_path)


def test_a_parameter_that_json_cannot_hold_is_refused(tmp_path):
    X, y, _ = shop(100)
    model = HybridClassifier(numeric=["price"], n_estimators=2, n_jobs=1).fit(X, y)
    model.booster_params = {"custom": object()}
    with pytest.raises(ParameterError, match="JSON"):
        model.save(tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []
