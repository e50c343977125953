"""A family alone, held against a slow truth: in batch, in its live twin, and after its declaration went through JSON."""

from __future__ import annotations

import json
import math

import polars as pl
import pytest
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, event, example
from polars.testing import assert_frame_equal

from features import BehaviorFeatures, EventLog
from features.families import FAMILIES
from features.family import declare

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts", values=["price"])
WINDOWS = ("1h", "1d", "all")
SECONDS = {"1h": 3600, "1d": 86400, "all": math.inf}
COLUMNS = {"user": "user_id", "item": "item_id"}

logs = st.lists(event, min_size=1, max_size=25)
asked = st.lists(example, min_size=1, max_size=8)


def alone(family, **options):
    """Features of one family, beside the counts of events that every log has."""
    declared = {"keys": ["user", "item", ("user", "item")], "windows": WINDOWS, "events": EVENTS, "families": [family]}
    return BehaviorFeatures(**{"log": LOG, **declared, "recency": False, "gap": False, **options})


def through_json(family):
    """The family that its declaration makes after JSON."""
    return declare(FAMILIES, {"family": family.name, **json.loads(json.dumps(family.options()))})


def before(rows, one, key, kind, window="all"):
    """The key's events of a kind in the window of an example; a key is a part, a tuple of parts, or ``()`` for all events."""
    columns = [COLUMNS.get(part, part) for part in ((key,) if isinstance(key, str) else key)]
    return [
        row
        for row in rows
        if row["event"] == kind
        and all(row[name] is not None and row[name] == one[name] for name in columns)
        and 0 < (one["ts"] - row["ts"]).total_seconds() <= SECONDS[window]
    ]


def assert_equal_to_walk(behavior, rows, examples, truth, schemas=(EVENT_SCHEMA, EXAMPLE_SCHEMA)):
    """The last family's columns equal ``truth(rows, example)`` by name, restored ones are the same, and so are live ones."""
    log, frame = pl.DataFrame(rows, schema=schemas[0]), pl.DataFrame(examples, schema=schemas[1])
    fitted = behavior.fit(log)
    got = fitted.transform(frame)
    names = [column.name for column in fitted.columns() if column.family == fitted.families_[-1].name]
    for i, one in enumerate(examples):
        values = truth(rows, one)
        assert set(values) == set(names)
        for name, value in values.items():
            close = value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)
            assert got[name][i] == close, (name, got[name][i], value)
    declaration = json.loads(json.dumps(fitted.declaration()))
    assert BehaviorFeatures.restore(declaration, fitted.log_).transform(frame).equals(got)
    half = max(len(rows) // 2, 1)
    assert_live_equals_batch(fitted.with_log(fitted.read(log[:half])), log, frame, half)


def assert_live_equals_batch(fitted, log, examples, cut, tolerance=0.0):
    """Features fitted to the log's first ``cut`` rows and live ever since equal the batch over all, as of the first example's time."""
    live = fitted.live()
    for part in log[cut:].iter_slices(1):
        live.observe(part)
    now = examples["ts"][0]
    got = live.features(examples.drop("ts"), now=now)
    batch = fitted.transform(examples.with_columns(ts=pl.lit(now)), events=log)
    assert_frame_equal(got, batch, check_exact=not tolerance, rel_tol=0, abs_tol=tolerance)
