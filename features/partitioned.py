"""Features of a log that is larger than memory: events and examples split by key on disk, each shard computed as if it were all."""

from __future__ import annotations

import copy
import dataclasses
import errno
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from features.behavior import BehaviorFeatures
from features.errors import ColumnError, DeclarationError, FileError
from features.event_log import KIND, TIME, EventLog, key_values, microseconds, sorted_by_time
from features.family import Family, Key, key_name
from features.history import History
from features.parquet_files import Files, ParquetFiles, parts_of
from features.row_order import RowOrder
from features.shards import Shards

Progress = Callable[[str, int, int], None]
"""Called with a step's name, what is done of it, and how much there is."""

ROW = "__row"
_TWINS = ("__twin_0", "__twin_1")  # hashes of all columns of an event, 128 bits
_BYTES = 400  # a row of events or examples in a shard that is being computed, with all that is made of it
_ROWS = 1_000_000  # of a shard: columns of more leave the allocator's reuse and the processor's cache, a fifth slower
_MOST_SHARDS = 400  # each is an open file while the log is split


def transform_parquet(
    behavior: BehaviorFeatures,
    events: Files,
    examples: Files,
    output: str | Path,
    *,
    id_columns: str | Sequence[str] = (),
    partitions: int | None = None,
    memory_gb: float = 2.0,
    batch_rows: int = 262_144,
    progress: Progress | None = None,
) -> list[Path]:
    """Fit features to a log of Parquet files and compute those of examples in Parquet files, neither ever whole in memory.

    The result is that of ``behavior.fit(events).transform(examples)``: counts exactly, sums within rounding. Events and examples are
    split by key into files in a hidden folder in ``output``, which is removed at the end: keys, times and values once for
    each way to split, and the results, compressed. What one key has must fit into memory.

    Parameters
    ----------
    behavior : BehaviorFeatures
        The declaration. It is left as it is; priors are learned from these events.
    events, examples : str, Path or sequence of these
        Paths or glob patterns, those of a pattern in the order of their names. The examples may be the events themselves.
    output : str or Path
        Folder; made if it is not there. Files of the examples' names in it are replaced when all are complete.
    id_columns : str or sequence of str, default ()
        Columns of the examples to carry into the output.
    partitions : int, optional
        Shards that events and examples are split into. Default: of at most a million rows, and as many as ``memory_gb`` asks for.
    memory_gb : float, default 2.0
        Memory for the shards that are computed at once, one a core, in 10^9 bytes; the libraries take half of one more.
    batch_rows : int, default 262,144
        Rows that are read, and written, at once: a row group of the output.
    progress : callable (step, done, in all), optional

    Returns
    -------
    list of Path
        The files written, one for each of the examples, in their order: the id columns, then a column a feature, rows in the
        order of the examples.

    Raises
    ------
    FileError
        No file matches, a file is not Parquet, two files of examples have the same name, the output would replace an input, or the
        disk is full; nothing is then left behind.
    DeclarationError
        A family needs more than the events of one key: it names the family.
    ColumnError, TimestampError, EmptyFrameError
        As ``BehaviorFeatures.fit`` and ``transform``, naming the file; or files do not agree.
    """
    if batch_rows < 1 or memory_gb <= 0 or (partitions is not None and partitions < 1):
        raise DeclarationError(
            f"batch_rows={batch_rows!r}, memory_gb={memory_gb!r} and partitions={partitions!r} must be positive"
        )
    ids = [id_columns] if isinstance(id_columns, str) else list(id_columns)
    folder = Path(output)
    log, asked = ParquetFiles.find(events, "events"), ParquetFiles.find(examples, "examples")
    _check_targets(log, asked, folder)
    job = _Job.of(behavior, log, asked, ids, batch_rows, progress)
    rows = log.height + asked.height
    number = partitions or math.ceil(max(rows * _BYTES * _cores() / (memory_gb * 1e9), rows / _ROWS))
    if number > _MOST_SHARDS:
        raise DeclarationError(
            f"{rows:,} rows need {number:,} partitions, more than {_MOST_SHARDS}; "
            f"give more memory_gb than {memory_gb:g}"
        )
    with _hidden_folder(folder) as hidden:
        job.run(hidden, number)
        written = []
        for path in asked.paths:
            (hidden / "out" / path.name).replace(folder / path.name)
            written.append(folder / path.name)
    return written


@dataclass(frozen=True)
class _Split:
    """Columns by whose values the log is split, and the features for which one shard holds all that they read.

    ``members`` are places in the plan with the key and family; ``log`` and ``asked`` the columns that those read of events and examples.
    """

    columns: tuple[str, ...]
    members: tuple[tuple[int, Key, Family], ...]
    log: tuple[str, ...]
    asked: tuple[str, ...]


def _splits(behavior: BehaviorFeatures) -> list[_Split]:
    """As few splits as the plan can be computed with.

    A key of several parts is computed where the log is split by any of its parts: all events of a (user, item) are in the item's shard.
    """
    shared = [_shared_columns(behavior, key, family) for key, family in behavior.plan()]
    coarsest: list[tuple[str, ...]] = []
    for columns in sorted(set(shared), key=lambda columns: (len(columns), columns)):
        if not any(set(kept) <= set(columns) for kept in coarsest):
            coarsest.append(columns)
    members: dict[tuple[str, ...], list[tuple[int, Key, Family]]] = {columns: [] for columns in coarsest}
    for place, ((key, family), columns) in enumerate(zip(behavior.plan(), shared, strict=True)):
        home = next(kept for kept in coarsest if set(kept) <= set(columns))
        members[home].append((place, key, family))
    return [_split_of(behavior.log, columns, tuple(own)) for columns, own in members.items()]


def _shared_columns(behavior: BehaviorFeatures, key: Key, family: Family) -> tuple[str, ...]:
    """Columns of all the keys whose events the features of a key are made from."""
    reads = family.reads(key)
    what = f"the family {family.name!r} of key {key_name(key)!r}"
    if reads is None or not all(reads):
        raise DeclarationError(
            f"{what} reads the whole log, not one key's events; compute it with transform, in memory"
        )
    if type(family).fitted is not Family.fitted:
        raise DeclarationError(f"{what} learns from the whole log at once; compute it with transform, in memory")
    columns = [set(behavior.log.columns_of(one)) for one in reads]
    shared = set.intersection(*columns)
    if not shared:
        names = ", ".join(repr(key_name(one)) for one in reads)
        raise DeclarationError(
            f"{what} reads the events of {names}, which share no part; compute it with transform, in memory"
        )
    return tuple(sorted(shared))


def _split_of(log: EventLog, columns: tuple[str, ...], members: tuple[tuple[int, Key, Family], ...]) -> _Split:
    keys = [part for _, key, family in members for one in (key, *(family.reads(key) or ())) for part in one]
    of_log = [part for _, _, family in members for part in family.log_parts()]
    of_asked = [part for _, _, family in members for part in family.example_parts()]
    values = [name for _, _, family in members for name in family.value_columns()]
    asked = dict.fromkeys(log.columns_of([*keys, *of_asked]))
    return _Split(columns, members, tuple(dict.fromkeys([*asked, *log.columns_of(of_log), *values])), tuple(asked))


@dataclass(frozen=True)
class _Job:
    """One call: the checked inputs, the bound declaration and the splits that compute it."""

    behavior: BehaviorFeatures
    events: ParquetFiles
    asked: ParquetFiles
    splits: list[_Split]
    dtypes: dict[str, pl.DataType]
    ids: list[str]
    batch_rows: int
    progress: Progress

    @classmethod
    def of(
        cls,
        behavior: BehaviorFeatures,
        events: ParquetFiles,
        asked: ParquetFiles,
        ids: list[str],
        batch_rows: int,
        progress: Progress | None,
    ) -> _Job:
        """Check everything that can be checked without reading rows, but for the kinds of event."""
        names = behavior.log
        keys, values = behavior.log_columns()
        events.require([*keys, names.timestamp, *([names.event] if names.event else []), *values])
        asked.require([*behavior.key_columns(), names.timestamp, *ids])
        events.require_numeric([name for name in values if name not in keys])
        dtypes, theirs = events.key_dtypes(keys), asked.key_dtypes(behavior.key_columns())
        for name, dtype in theirs.items():
            known = dtypes.setdefault(name, dtype)
            if pl.Null not in (known, dtype) and known != dtype:
                raise ColumnError(f"key column {name!r} is {dtype} in examples and {known} in events; cast one of them")
            dtypes[name] = dtype if known == pl.Null else known
        if names.duplicates == "drop":
            events.require_same_columns()
        bound = copy.copy(behavior).bind(_kinds(events, names), events.zone(names.timestamp))
        bound.check_zone(asked.zone(names.timestamp), "examples")
        _check_names(bound, ids)
        say = progress or (lambda step, done, total: None)
        return cls(bound, events, asked, _splits(bound), dtypes, ids, batch_rows, say)

    def run(self, folder: Path, number: int) -> None:
        """Write the output files into ``folder/out``."""
        logs = [Shards(folder / f"events-{i}", split.columns, number) for i, split in enumerate(self.splits)]
        questions = [Shards(folder / f"examples-{i}", split.columns, number) for i, split in enumerate(self.splits)]
        with ExitStack() as files:
            for shards in (*logs, *questions):
                files.callback(shards.close)
            self._split_events(logs)
            starts = self._split_examples(questions)
        behavior = self._fitted(logs, number)
        results = [RowOrder(folder / f"results-{i}", starts) for i in range(len(self.splits))]
        done, total = 0, self.asked.height * len(self.splits)
        with ThreadPoolExecutor(_cores()) as pool:
            for split, log, question, result in zip(self.splits, logs, questions, results, strict=True):
                for height in pool.map(partial(self._compute, behavior, split, log, question, result), range(number)):
                    done += height
                    self.progress("features", done, total)
        self._write(folder / "out", results, starts)

    def _split_events(self, logs: Sequence[Shards]) -> None:
        """Read the log part by part, check each as ``EventLog.read`` does, and add it to the shards of every split."""
        names, (keys, values) = self.behavior.log, self.behavior.log_columns()
        twins = names.duplicates == "drop"
        needed = None if twins else [*keys, *values, names.timestamp, *([names.event] if names.event else [])]
        kept = dataclasses.replace(names, duplicates="keep")
        kinds = pl.Enum(self.behavior.events_)
        done, total = 0, self.events.height
        for path, part in self.events.parts(self.batch_rows, None if needed is None else list(dict.fromkeys(needed))):
            try:
                log = kept.read(_with_twins(part) if twins else part, [*keys, *(_TWINS if twins else ())], values)
                for family in self.behavior.families_:
                    family.check_log(log)
            except (ValueError, pl.exceptions.PolarsError) as error:
                raise _in_file(error, path) from error
            # A kind that is not counted becomes null, and goes.
            log = log.with_columns(
                *(pl.col(name).cast(self.dtypes[name]) for name in keys),
                pl.col(KIND).cast(kinds, strict=False).to_physical(),
            ).drop_nulls(KIND)
            for split, shards in zip(self.splits, logs, strict=True):
                columns = [*split.log, TIME, KIND, *(_TWINS if twins else ())]
                shards.append(log.select(columns).drop_nulls(split.columns))
            done += part.height
            self.progress("split", done, total + self.asked.height)

    def _split_examples(self, questions: Sequence[Shards]) -> np.ndarray:
        """The same for the examples; return the first row of each part, and behind the last."""
        names, keys = self.behavior.log, self.behavior.key_columns()
        starts = [0]
        for path, part in self.asked.parts(self.batch_rows, list(dict.fromkeys([*keys, names.timestamp]))):
            try:
                rows = part.select(
                    *(key_values(part[name], "examples").cast(self.dtypes[name]) for name in keys),
                    microseconds(part[names.timestamp], "examples").alias(TIME),
                ).with_columns(pl.int_range(starts[-1], starts[-1] + part.height).alias(ROW))
            except (ValueError, pl.exceptions.PolarsError) as error:
                raise _in_file(error, path) from error
            for split, shards in zip(self.splits, questions, strict=True):
                shards.append(rows.select(*split.asked, TIME, ROW))
            starts.append(starts[-1] + part.height)
            self.progress("split", self.events.height + starts[-1], self.events.height + self.asked.height)
        return np.array(starts)

    def _history(self, logs: Shards, shard: int) -> History:
        """The events of a shard as ``BehaviorFeatures`` would hold them."""
        log = logs.read(shard)
        if _TWINS[0] in log.columns:
            log = log.unique(maintain_order=True, keep="first").drop(_TWINS)
        kinds = pl.Series(KIND, self.behavior.events_, dtype=pl.String)
        log = log.with_columns(kinds.gather(log[KIND]))
        return History(sorted_by_time(log), self.behavior.log, self.behavior.has_zone_)

    def _fitted(self, logs: Sequence[Shards], number: int) -> BehaviorFeatures:
        """The declaration with what its families learn from the totals of all shards."""
        totals: dict[int, list[dict[str, np.ndarray]]] = {}
        learning = [
            (shard, split, log)
            for split, log in zip(self.splits, logs, strict=True)
            if any(type(family).totals is not Family.totals for _, _, family in split.members)
            for shard in range(number)
        ]

        def learn(one: tuple[int, _Split, Shards]) -> list[tuple[int, dict[str, np.ndarray]]]:
            shard, split, log = one
            history = self._history(log, shard)
            return [(id(family), family.totals(key, history)) for _, key, family in split.members]

        with ThreadPoolExecutor(_cores()) as pool:
            for done, learned in enumerate(pool.map(learn, learning), start=1):
                for family, found in learned:
                    totals.setdefault(family, []).append(found)
                self.progress("fit", done, len(learning))
        fitted = copy.copy(self.behavior)
        fitted.families_ = tuple(
            family.fitted_to(_joined(totals.get(id(family), []))) for family in self.behavior.families_
        )
        return fitted

    def _compute(
        self, behavior: BehaviorFeatures, split: _Split, log: Shards, question: Shards, result: RowOrder, shard: int
    ) -> int:
        """Compute the features of a shard's examples; return how many there are."""
        rows = question.read(shard)
        if rows.height:
            plan = behavior.plan()
            batch = behavior.batch(self._history(log, shard), rows.select(split.asked), rows[TIME].to_numpy())
            columns = (values for place, key, _ in split.members for values in plan[place][1].compute(key, batch))
            result.keep(shard, rows[ROW].to_numpy(), columns)
        log.remove(shard)
        question.remove(shard)
        return rows.height

    def _write(self, folder: Path, results: Sequence[RowOrder], starts: np.ndarray) -> None:
        """The output files, from results in the order of the splits."""
        folder.mkdir()
        names = [name for split in self.splits for _, key, family in split.members for name in family.columns(key)]
        dtypes = dict(zip(names, [dtype for result in results for dtype in result.dtypes], strict=True))
        wanted = [column.name for column in self.behavior.columns()]
        features = [pa.field(name, pa.from_numpy_dtype(dtypes[name])) for name in wanted]
        firsts = np.searchsorted(starts, np.cumsum([0, *self.asked.rows])).tolist()  # the first part of each file
        done = [0] * len(self.asked.paths)

        def write(file: int) -> None:
            path = self.asked.paths[file]
            carried = [pq.read_schema(path).field(name) for name in self.ids]
            schema = pa.schema([*carried, *features])
            parts = parts_of(path, self.batch_rows, self.ids) if self.ids else itertools.repeat(None)
            # Dictionaries of fractions take a third of the time to write and make the files a fifth smaller.
            listed = [field.name for field in schema if not pa.types.is_floating(field.type)]
            with pq.ParquetWriter(folder / path.name, schema, use_dictionary=listed) as writer:
                for place, part in zip(range(firsts[file], firsts[file + 1]), parts, strict=bool(self.ids)):
                    values = (column for result in results for column in result.chunk(place))
                    arrays = {
                        name: pa.array(column, from_pandas=True) for name, column in zip(names, values, strict=True)
                    }
                    own = [] if part is None else part.columns
                    table = pa.table([*own, *(arrays[name] for name in wanted)], schema=schema)
                    writer.write_table(table)
                    done[file] += table.num_rows
                    self.progress("write", sum(done), self.asked.height)

        with ThreadPoolExecutor(_cores()) as pool:
            list(pool.map(write, range(len(self.asked.paths))))


def _joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}


def _kinds(events: ParquetFiles, names: EventLog) -> list[str]:
    """The kinds of event in the log."""
    if names.event is None:
        return ["event"]
    kinds = pl.col(names.event).cast(pl.String).unique()
    found = [pl.scan_parquet(path).select(kinds).collect(engine="streaming").to_series() for path in events.paths]
    return pl.concat(found).drop_nulls().unique().to_list()


def _with_twins(events: pl.DataFrame) -> pl.DataFrame:
    """Events with two hashes of all their columns: rows that are equal in every column are equal in these, and only those are."""
    # The numbers behind a categorical value differ from part to part.
    texts = events.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    return events.with_columns(
        texts.hash_rows(seed).reinterpret(signed=True).alias(name) for seed, name in enumerate(_TWINS)
    )


def _check_targets(events: ParquetFiles, asked: ParquetFiles, folder: Path) -> None:
    names = [path.name for path in asked.paths]
    inputs = {path.resolve() for path in (*events.paths, *asked.paths)}
    for name in names:
        if names.count(name) > 1:
            raise FileError(
                f"two files of examples are named {name!r}, and so would be their features; give the folders apart"
            )
        if (folder / name).resolve() in inputs:
            raise FileError(f"the features of {name} would replace an input, {folder / name}; name another folder")


def _check_names(behavior: BehaviorFeatures, ids: Sequence[str]) -> None:
    twice = set(ids) & {column.name for column in behavior.columns()}
    if twice or len(set(ids)) < len(ids):
        name = min(twice, default="") or next(name for name in ids if ids.count(name) > 1)
        raise ColumnError(f"id column {name!r} would be in the output twice; leave it out or rename it")


def _in_file(error: Exception, path: Path) -> Exception:
    """The same mistake with the file that it is in."""
    kind = type(error) if isinstance(error, ColumnError) else ColumnError
    return kind(f"{path}: {error}")


@contextmanager
def _hidden_folder(output: Path) -> Iterator[Path]:
    """A temporary folder in the output's, both removed again if all is not done."""
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".features-", dir=output) as hidden:
            yield Path(hidden)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise FileError(f"features could not be written into {output}: {why}; nothing is left behind") from error
    finally:
        if made and output.is_dir() and not any(output.iterdir()):
            output.rmdir()


def _cores() -> int:
    return os.cpu_count() or 1
