"""The embedding store: what was put is found, whatever else happens to the folder."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.errors import ParameterError, StoreError
from hybrid.store import EmbeddingStore, StoreKey

KEY = StoreKey(fingerprint="model")


def words(numbers) -> list[str]:
    return [f"text {number}" for number in numbers]


def truth(numbers, width: int = 4) -> np.ndarray:
    return np.add.outer(np.asarray(numbers, dtype=np.float32), np.arange(1, width + 1, dtype=np.float32) / 8)


def segment_files(store: EmbeddingStore) -> list[Path]:
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


def in_forked_process(target, *args) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=target, args=args)
    process.start()
    return process


def test_finds_what_was_put_in_the_order_asked(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put(KEY, words(range(100)), truth(range(100)))
    store.put(KEY, words(range(200, 220)), truth(range(200, 220)))
    asked = [210, 5, 150, 5, 99, -1]
    vectors, found = store.get(KEY, words(asked))
    assert vectors.dtype == np.float32
    assert found.tolist() == [True, True, False, True, True, False]
    np.testing.assert_array_equal(vectors[found], truth([210, 5, 5, 99]))
    assert not vectors[~found].any()


def test_nothing_stored_is_nothing_found(tmp_path):
    vectors, found = EmbeddingStore(tmp_path).get(KEY, words(range(3)))
    assert vectors.shape == (3, 0)
    assert not found.any()


def test_survives_the_process_and_pickling(tmp_path):
    EmbeddingStore(tmp_path, max_bytes=10**6).put(KEY, ["鞋 red"], truth([1]))
    again = pickle.loads(pickle.dumps(EmbeddingStore(tmp_path, max_bytes=10**6)))
    assert again.max_bytes == 10**6
    np.testing.assert_array_equal(again.get(KEY, ["鞋 red"])[0], truth([1]))


@pytest.mark.parametrize(
    "other",
    [
        StoreKey(fingerprint="model 2"),
        StoreKey(fingerprint="model", prompt="query: "),
        StoreKey(fingerprint="model", dim=4),
        StoreKey(fingerprint="model", dtype="float16"),
    ],
)
def test_every_part_of_the_key_counts(tmp_path, other):
    store = EmbeddingStore(tmp_path)
    store.put(KEY, ["shoe"], truth([1]))
    assert not store.get(other, ["shoe"])[1].any()
    # Nor does a file that strayed from one key's folder into another's serve the other's texts.
    store.put(other, ["boot"], truth([2]))
    mine, others = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    for source, target in ((mine, others), (others, mine)):
        for path in list(source.glob("*.seg")):
            shutil.copy(path, target / f"9{path.name[1:]}")
    assert EmbeddingStore(tmp_path).get(other, ["shoe", "boot"])[1].tolist() == [False, True]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=30), st.lists(st.integers(-5, 65), max_size=40))
def test_behaves_as_a_dictionary(puts, asked):
    with tempfile.TemporaryDirectory() as folder:
        store, known = EmbeddingStore(folder), set()
        for numbers in puts:
            store.put(KEY, words(numbers), truth(numbers))
            known.update(numbers)
        vectors, found = store.get(KEY, words(asked))
        assert found.tolist() == [number in known for number in asked]
        if found.any():
            np.testing.assert_array_equal(vectors[found], truth([number for number in asked if number in known]))


def test_many_tiny_writes_end_in_few_files(tmp_path):
    store, reader = EmbeddingStore(tmp_path), EmbeddingStore(tmp_path)
    for number in range(300):
        store.put(KEY, words([number]), truth([number]))
        if number % 37 == 0:  # a reader that keeps old files open sees new ones
            assert reader.get(KEY, words([number]))[1].all()
    assert len(segment_files(store)) <= 24
    vectors, found = EmbeddingStore(tmp_path).get(KEY, words(range(300)))
    assert found.all()
    np.testing.assert_array_equal(vectors, truth(range(300)))


def test_size_limit_drops_the_oldest(tmp_path):
    limit = 100_000
    store = EmbeddingStore(tmp_path, max_bytes=limit)
    reader = EmbeddingStore(tmp_path, max_bytes=limit)
    for start in range(0, 2000, 100):
        numbers = range(start, start + 100)
        store.put(KEY, words(numbers), truth(numbers, width=64))
        reader.get(KEY, words(range(start + 100)))  # files may vanish under it
        assert sum(path.stat().st_size for path in segment_files(store)) == store.nbytes <= limit
    vectors, found = reader.get(KEY, words(range(2000)))
    kept = np.flatnonzero(found)
    assert 100 <= len(kept) < 2000 - 1000
    assert kept.tolist() == list(range(2000 - len(kept), 2000)), "the newest are kept"
    np.testing.assert_array_equal(vectors[kept], truth(kept, width=64))


def test_size_limit_is_over_all_models(tmp_path):
    store = EmbeddingStore(tmp_path, max_bytes=50_000)
    for model in range(10):
        store.put(StoreKey(fingerprint=str(model)), words(range(100)), truth(range(100), width=32))
    assert store.nbytes <= 50_000
    assert not store.get(StoreKey(fingerprint="0"), words(range(100)))[1].any()
    assert store.get(StoreKey(fingerprint="9"), words(range(100)))[1].all()


def test_a_write_larger_than_the_limit_is_not_kept(tmp_path):
    store = EmbeddingStore(tmp_path, max_bytes=1000)
    store.put(KEY, words(range(100)), truth(range(100)))
    assert store.nbytes == 0
    assert not store.get(KEY, words(range(100)))[1].any()


def cut(keep):
    return lambda content: content[: int(len(content) * keep)]


@pytest.mark.parametrize(
    "damage",
    [
        cut(0.0),
        cut(0.001),
        cut(0.3),
        cut(0.999),
        lambda _: b"not a segment" * 999,
        lambda c: bytes(len(c)),
        lambda c: c * 2,
    ],
    ids=["empty", "header cut", "cut", "end cut", "foreign", "zeros", "longer"],
)
def test_torn_and_foreign_files_are_ignored_and_rebuilt(tmp_path, damage):
    EmbeddingStore(tmp_path).put(KEY, words(range(50)), truth(range(50)))
    (path,) = segment_files(EmbeddingStore(tmp_path))
    path.write_bytes(damage(path.read_bytes()))
    store = EmbeddingStore(tmp_path)
    store.put(KEY, words(range(40, 60)), truth(range(40, 60)))
    vectors, found = store.get(KEY, words(range(60)))
    assert found.tolist() == [False] * 40 + [True] * 20
    np.testing.assert_array_equal(vectors[found], truth(range(40, 60)))
    assert path not in segment_files(store), "the damaged file is removed"


def test_a_changed_vector_is_not_served(tmp_path):
    EmbeddingStore(tmp_path).put(KEY, words(range(50)), truth(range(50)))
    (path,) = segment_files(EmbeddingStore(tmp_path))
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40
    path.write_bytes(content)
    store = EmbeddingStore(tmp_path)
    vectors, found = store.get(KEY, words(range(50)))
    assert not found.any()
    assert not vectors.any()
    store.put(KEY, words(range(50)), truth(range(50)))
    np.testing.assert_array_equal(store.get(KEY, words(range(50)))[0], truth(range(50)))


def test_files_of_others_are_left_alone_and_old_leftovers_removed(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put(KEY, ["shoe"], truth([1]))
    space = segment_files(store)[0].parent
    notes, young, old = tmp_path / "notes.txt", space / "young.tmp", space / "old.tmp"
    for path in (notes, young, old):
        path.write_text("x")
    os.utime(old, (0, 0))
    store = EmbeddingStore(tmp_path)
    assert store.get(KEY, ["shoe"])[1].all()
    assert (notes.exists(), young.exists(), old.exists()) == (True, True, False)


def test_the_folder_may_vanish(tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    store.put(KEY, ["shoe"], truth([1]))
    shutil.rmtree(store.folder)
    assert not store.get(KEY, ["shoe"])[1].any()
    store.put(KEY, ["shoe"], truth([1]))
    assert store.get(KEY, ["shoe"])[1].all()


def write_and_read(folder: Path, seed: int, max_bytes: int) -> None:
    random = np.random.default_rng(seed)
    store = EmbeddingStore(folder, max_bytes=max_bytes)
    for _ in range(60):
        numbers = random.integers(0, 2000, size=random.integers(1, 60))
        store.put(KEY, words(numbers), truth(numbers, width=32))
        asked = random.integers(0, 2000, size=500)
        vectors, found = store.get(KEY, words(asked))
        np.testing.assert_array_equal(vectors[found], truth(asked[found], width=32))


@pytest.mark.parametrize("max_bytes", [10**9, 60_000], ids=["room", "evicting"])
def test_processes_share_a_folder(tmp_path, max_bytes):
    processes = [in_forked_process(write_and_read, tmp_path, seed, max_bytes) for seed in range(4)]
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 4
    store = EmbeddingStore(tmp_path, max_bytes=max_bytes)
    vectors, found = store.get(KEY, words(range(2000)))
    np.testing.assert_array_equal(vectors[found], truth(np.flatnonzero(found), width=32))
    if max_bytes == 10**9:
        written = set()
        for seed in range(4):
            random = np.random.default_rng(seed)
            for _ in range(60):
                written.update(random.integers(0, 2000, size=random.integers(1, 60)).tolist())
                random.integers(0, 2000, size=500)
        assert np.flatnonzero(found).tolist() == sorted(written)
        assert len(segment_files(store)) <= 40
    else:
        store.put(KEY, ["last"], truth([1], width=32))
        assert store.nbytes <= max_bytes


def test_unwritable_folder_is_an_error_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot write to .*file.*INTENTREE_CACHE.*store=None"):
        EmbeddingStore(tmp_path / "file" / "store")


@pytest.mark.parametrize("max_bytes", [-1, 1.5, "10 GB"])
def test_size_limit_must_be_bytes(tmp_path, max_bytes):
    with pytest.raises(ParameterError, match="max_bytes"):
        EmbeddingStore(tmp_path, max_bytes=max_bytes)


def write_on_a_full_disk(folder: Path) -> None:
    store = EmbeddingStore(folder)
    store.put(KEY, ["before"], truth([1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))  # the system refuses to write more, as a full disk does
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            store.put(KEY, words(range(1000)), truth(range(1000)))
    assert [str(folder) in str(warning.message) for warning in caught] == [True]
    vectors, found = store.get(KEY, ["before", "text 1"])
    assert found.tolist() == [True, False]
    np.testing.assert_array_equal(vectors[:1], truth([1]))
    assert not list(folder.rglob("*.tmp"))


def test_full_disk_is_warned_of_once_and_loses_nothing(tmp_path):
    process = in_forked_process(write_on_a_full_disk, tmp_path)
    process.join(timeout=60)
    assert process.exitcode == 0


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"INTENTREE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a/embeddings"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/intentree/embeddings"),
        ({"HOME": "/home/me"}, "/home/me/.cache/intentree/embeddings"),
    ],
)
def test_default_folder(monkeypatch, variables, expected):
    from hybrid.store import default_folder

    for name in ("INTENTREE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(expected)
