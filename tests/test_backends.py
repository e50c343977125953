"""Backends of TextEncoder: torch's vectors within a stated tolerance, exported once, and mistakes named before any work."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from encoders import HashEncoder, save_transformer
from test_encoder import save_model

from hybrid import HybridClassifier, load
from hybrid.backends import BACKENDS
from hybrid.backends.agreement import Agreement
from hybrid.backends.export_cache import ExportKey, kept_export
from hybrid.encoder import TextEncoder
from hybrid.errors import ArtifactError, DeviceError, EncoderError, ParameterError, StoreError

TITLES = [
    "Samsung Galaxy S23 Ultra 256GB Phantom Black",
    "Bosch WAN28281GB 8kg washing machine, white",
    "women's waterproof hiking boots",
    "usb c cable 2 m",
    "无线蓝牙耳机 64GB",
    "Nike 男款 running shoes 42码",
    "tv",
    "a frying pan with a removable handle, for gas and induction hobs, dishwasher safe " * 3,
]
HARD = [
    "red shoe " * 1_111 + "!",  # 10,000 characters
    "耳机" * 5_000,
    "🎧🔥👟",
    "\u200b",  # no character to see, and no whitespace either
    "red 耳机 кроссовки ゲーム سماعة",
    "x",
]
WORDS = ["red shoe", "blue shirt 耳机", "shoe", "red red blue shoe shirt 红 色 耳 机", "item : blue 耳机 red", "shirt"]
ALL = list(BACKENDS)


@pytest.fixture(scope="module", autouse=True)
def exports(tmp_path_factory) -> Path:
    """A cache for this module alone, where the exports lie."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTENTREE_CACHE", str(folder))
        yield folder / "models"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A transformer of two layers, with the mean of tokens, a dense layer and prompts of its own."""
    return save_transformer(tmp_path_factory.mktemp("small"), prompts={"query": "item : "})


@pytest.fixture(scope="module")
def first_token(tmp_path_factory) -> Path:
    """A transformer without token types, of which the first token's vector is read."""
    folder = tmp_path_factory.mktemp("first token")
    return save_transformer(folder, pooling="cls", family="distilbert", prompts={"query": "item : "})


@pytest.fixture
def model(backend, small, first_token) -> Path | str:
    """What to export: the real model once, in eight bits, which a model of random weights does not bear."""
    return {"onnx-int8": "all-MiniLM-L6-v2", "openvino": first_token}.get(backend, small)


def encoder_of(model: object, backend: str = "torch", **options: object) -> TextEncoder:
    return TextEncoder(model, backend=backend, device="cpu", store=None, **options)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1)


def record(folder: Path, backend: str) -> dict:
    """What the newest export of a backend records."""
    newest = sorted(folder.glob("*/export.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return next(kept for kept in (json.loads(path.read_text()) for path in newest) if kept["backend"] == backend)


# The vectors


def test_minilm_in_eight_bits(exports):
    torch_vectors = encoder_of("all-MiniLM-L6-v2").encode(TITLES)
    vectors = encoder_of("all-MiniLM-L6-v2", "onnx-int8", batch_size=3).encode(TITLES)
    assert vectors.dtype == np.float32
    assert cosines(vectors, torch_vectors).mean() >= 0.99
    assert cosines(vectors, torch_vectors).min() >= 0.97
    assert not np.allclose(vectors, torch_vectors, atol=1e-3), "rounding shows"
    kept = record(exports, "onnx-int8")
    assert kept["mean_cosine"] >= 0.99
    assert 0.95 <= kept["least_cosine"] < 0.999
    assert kept["probes"] >= 24


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("role", [None, "query"])
def test_tokenizer_pooling_dense_layers_and_prompts_are_the_model_s_own(backend, role, model):
    expected = encoder_of(model).encode(WORDS, role=role)
    np.testing.assert_allclose(encoder_of(model, backend).encode(WORDS, role=role), expected, atol=1e-5)
    assert not np.allclose(encoder_of(model).encode(WORDS), encoder_of(model).encode(WORDS, role="query"), atol=1e-3)


@pytest.mark.parametrize("backend", ALL)
def test_any_text_has_finite_vectors(backend, model):
    encoder = encoder_of(model, backend)
    vectors = encoder.encode([*HARD, *WORDS, " \t\u3000\n", None])
    assert np.isfinite(vectors).all()
    assert not vectors[-2:].any()
    lengths = np.linalg.norm(vectors[len(HARD) : -2], axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-5)
    assert encoder.dimension == vectors.shape[1]


def test_chinese_english_and_mixed_texts_one_by_one_and_together(small):
    texts = ["红 色 耳 机", "红色耳机", "red 耳机", "red shoe", "Red Shoe 红"]
    encoder = encoder_of(small, "onnx")
    together = encoder.encode(texts)
    np.testing.assert_allclose(np.concatenate([encoder.encode([text]) for text in texts]), together, atol=1e-5)
    np.testing.assert_allclose(together, encoder_of(small).encode(texts), atol=1e-5)
    assert cosines(together[:1], together[1:2]) > 0.999, "Chinese is cut into characters"


def test_static_vectors_are_weighted_means_of_tokens(small, exports):
    encoder = encoder_of(small, "static")
    vectors = encoder.encode(["red shoe", "shoe red", "blue shirt"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert cosines(vectors[:1], vectors[2:]) < 0.99
    kept = record(exports, "static")
    assert kept["mean_cosine"] is None, "of two spaces"
    assert -1 <= kept["similarity_correlation"] <= 1
    np.testing.assert_array_equal(encoder.encode(["shoe"], role="query"), encoder.encode(["shoe"]))
    prompted = encoder_of(small, "static", prompts={"query": "blue "}).encode(["shirt"], role="query")
    np.testing.assert_allclose(prompted, vectors[2:], atol=1e-6)


def test_threads_share_an_export(small):
    encoder = encoder_of(small, "onnx")
    expected = encoder.encode(WORDS)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(encoder.encode, [WORDS] * 8):
            np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_agreement_is_measured_in_both_spaces():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((20, 5))
    rotated = vectors @ np.linalg.qr(random.standard_normal((5, 5)))[0]
    assert Agreement.of(vectors, 3 * vectors, same_space=True).least_cosine == pytest.approx(1)
    apart = Agreement.of(vectors, rotated, same_space=False)
    assert apart.least_cosine is None
    assert apart.similarity_correlation == pytest.approx(1)


# The exports


def test_each_backend_has_a_fingerprint_and_vectors_of_its_own(small, tmp_path):
    assert len({TextEncoder(small, backend=backend).fingerprint for backend in ["torch", *ALL]}) == 1 + len(ALL)
    for backend in ("torch", "onnx", "static"):  # with one store for all of them
        encoder = TextEncoder(small, backend=backend, device="cpu", store=tmp_path)
        np.testing.assert_array_equal(encoder.encode(WORDS), encoder_of(small, encoder.backend).encode(WORDS))


def forget_opened(monkeypatch) -> None:
    """As in a new process."""
    monkeypatch.setattr("hybrid.backends.exported_model._OPENED", {})


def test_a_kept_export_is_used_again_and_a_damaged_one_made_anew(tmp_path, exports, monkeypatch):
    folder = save_transformer(tmp_path / "model", seed=5)
    expected = encoder_of(folder, "static").encode(WORDS)
    kept = max(exports.glob("static-*/model.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    made = kept.stat()

    forget_opened(monkeypatch)
    np.testing.assert_array_equal(encoder_of(folder, "static").encode(WORDS), expected)
    assert kept.stat().st_ino == made.st_ino

    os.truncate(kept, 100)
    forget_opened(monkeypatch)
    np.testing.assert_allclose(encoder_of(folder, "static").encode(WORDS), expected, atol=1e-6)
    assert kept.stat().st_size == made.st_size
    assert not list(exports.glob("*.tmp"))


def written(folder: Path) -> dict[str, str]:
    """An export that takes a while."""
    (folder / "weights").write_text("half")
    time.sleep(0.5)
    (folder / "weights").write_text("whole")
    return {"process": str(os.getpid())}


def test_a_killed_export_leaves_nothing_and_two_processes_make_one(exports):
    key = ExportKey("static", "some model", {"model2vec": "1.0"})
    fork = multiprocessing.get_context("fork")
    killed = fork.Process(target=kept_export, args=(key, lambda folder: [written(folder), time.sleep(600)][0]))
    killed.start()
    while not list(exports.glob("*.tmp/weights")):
        time.sleep(0.01)
    others = [fork.Process(target=kept_export, args=(key, written)) for _ in range(2)]
    for process in others:
        process.start()
    killed.kill()
    for process in (killed, *others):
        process.join()
    assert [process.exitcode for process in others] == [0, 0]
    assert (key.folder / "weights").read_text() == "whole"
    assert json.loads((key.folder / "export.json").read_text())["process"] in {str(other.pid) for other in others}
    assert not list(exports.glob("*.tmp"))
    assert kept_export(key, lambda folder: pytest.fail("made twice")) == key.folder
    for other in (ExportKey("static", "some model", {"model2vec": "1.1"}), ExportKey("static", "other", key.versions)):
        assert other.folder != key.folder


def test_an_unwritable_cache_is_named(small, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("INTENTREE_CACHE", str(tmp_path / "file"))
    forget_opened(monkeypatch)
    with pytest.raises(StoreError, match="INTENTREE_CACHE"):
        encoder_of(small, "static").encode(["red"])


@pytest.mark.parametrize(
    ("backend", "mean", "least", "refused"),
    [
        ("onnx-int8", 0.981, 0.5, None),
        ("onnx-int8", 0.9712, 0.9, "mean cosine of 0.9712.*use backend='openvino'"),
        ("onnx", 1.0, 0.9987, "least cosine of 0.9987.*use backend='torch'"),
        ("openvino", 1.0, 0.9987, "least cosine of 0.9987.*use backend='torch'"),
        ("static", None, None, None),
    ],
)
def test_an_export_that_is_too_far_from_torch_is_refused(backend, mean, least, refused, small, tmp_path, monkeypatch):
    monkeypatch.setenv("INTENTREE_CACHE", str(tmp_path))
    forget_opened(monkeypatch)
    monkeypatch.setattr(Agreement, "of", lambda *_, **__: Agreement(mean, least, 0.5))
    monkeypatch.setattr(type(BACKENDS[backend]), "export", lambda *_: None)
    monkeypatch.setattr(type(BACKENDS[backend]), "open", lambda *_: lambda texts, **__: np.ones((len(texts), 4)))
    encoder = encoder_of(small, backend)
    if refused is None:
        assert encoder.encode(["red"]).shape == (1, 4)
    else:
        with pytest.raises(EncoderError, match=refused):
            encoder.encode(["red"])
    assert len(list(tmp_path.glob("models/*/export.json"))) == (refused is None)


# Descriptions and artifacts


@pytest.mark.parametrize("backend", ALL)
def test_described_and_built_again(backend, model):
    encoder = TextEncoder(model, backend=backend, dim=4)
    description = json.loads(json.dumps(encoder.describe()))
    again = TextEncoder.from_description(description)
    again.verify()
    assert again.backend == backend
    assert again.describe() == description
    np.testing.assert_array_equal(again.encode(WORDS, role="query"), encoder.encode(WORDS, role="query"))
    assert repr(encoder).endswith(f"backend={backend!r}, dim=4)")

    with pytest.raises(EncoderError, match=f"backend='torch', the one described '{backend}'"):
        TextEncoder.from_description(description, model=TextEncoder(model, dim=4))
    del description["backend"]
    with pytest.raises(ArtifactError, match="backend"):
        TextEncoder.from_description(description)


def test_a_distilled_space_that_came_out_otherwise_is_refused(small):
    description = TextEncoder(small, backend="static").describe()
    description["probes"][0] = [-number for number in description["probes"][0]]
    with pytest.raises(EncoderError, match="not the one described"):
        TextEncoder.from_description(description).verify()


def test_another_dimension_than_the_stored_one_is_named(small, tmp_path):
    description = TextEncoder(small, backend="onnx").describe()
    wider = save_transformer(tmp_path / "wider", seed=1, width=48, dense=None)
    with pytest.raises(EncoderError, match=r"48 dimensions.*and 24"):
        TextEncoder.from_description(description, model=wider).verify()
    description["dimension"] = 99
    with pytest.raises(EncoderError, match="24 dimensions, and gave 99 before"):
        TextEncoder.from_description(description).encode(["red"])


def test_an_artifact_finds_its_backend_again(first_token, tmp_path):
    frame = pl.DataFrame({"text": WORDS * 8, "bought": [len(word) % 2 for word in WORDS] * 8})
    model = HybridClassifier(
        text={"query": "text"},
        encoder=TextEncoder(first_token, backend="openvino"),
        head=None,
        text_channels={"coordinates": 4},
        n_estimators=5,
        early_stopping_rounds=None,
        device="cpu",
        n_jobs=1,
    )
    model.fit(frame.drop("bought"), frame["bought"])
    assert model.devices_["encoder"] == "cpu"
    model.save(tmp_path / "artifact")
    again = load(tmp_path / "artifact")
    assert again.encoder.backend == "openvino"
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))


# Mistakes


def test_unknown_backends_are_refused():
    with pytest.raises(ParameterError, match="'torch', 'onnx', 'onnx-int8', 'openvino', 'static', not 'tensorrt'"):
        TextEncoder(backend="tensorrt")


@pytest.mark.parametrize("backend", ALL)
def test_an_object_has_no_files_to_export(backend):
    with pytest.raises(EncoderError, match=f"backend='{backend}'.*HashEncoder is an object"):
        TextEncoder(HashEncoder(), backend=backend)


@pytest.mark.parametrize(
    ("backend", "package", "extra"),
    [
        ("onnx", "onnxruntime", "onnx"),
        ("onnx-int8", "onnxscript", "onnx"),
        ("openvino", "openvino", "openvino"),
        ("static", "model2vec", "static"),
    ],
)
def test_what_is_not_installed_is_named(backend, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EncoderError, match=rf"needs {package}.*pip install intentree\[{extra}\]"):
        TextEncoder(backend=backend)


@pytest.mark.parametrize("backend", ALL)
def test_cuda_is_refused_and_never_replaced_in_silence(backend, small):
    with pytest.raises(DeviceError, match=f"backend='{backend}' computes on the CPU"):
        TextEncoder(small, backend=backend, device="cuda:0")
    with pytest.raises(DeviceError, match=f"backend='{backend}' computes on the CPU"):
        TextEncoder(small, backend=backend).encode(["red"], device="cuda")
    assert TextEncoder(small, backend=backend).computes_on("auto") == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_vectors_of_a_backend_on_the_cpu_are_put_where_they_are_wanted(first_token):
    embedded = TextEncoder(first_token, backend="openvino", store=None).encode_distinct(WORDS, device="cuda")
    assert embedded.vectors.device.type == "cuda"


@pytest.mark.parametrize("backend", ALL)
def test_what_is_no_transformer_is_named(backend, tmp_path):
    with pytest.raises(EncoderError, match=f"backend='{backend}' runs transformers.*StaticEmbedding"):
        encoder_of(save_model(tmp_path / "model"), backend).encode(["red"])
