"""Scoring of Parquet files: the same numbers as in memory, resumable, and safe when things go wrong."""

from __future__ import annotations

import errno

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from encoders import HashEncoder
from shop import hybrid, shop

from hybrid import ScoringError, load, score_parquet


@pytest.fixture
def job(tmp_path):
    """A fitted artifact and three input files; a callable that scores them."""
    X, y, events = shop(500)
    X = X.with_row_index("row")
    model = hybrid().fit(X, np.where(y, "buy", "leave"), events=events)
    model.save(tmp_path / "artifact")
    (tmp_path / "in").mkdir()
    for i, part in enumerate([X[:200], X[200:200], X[200:]]):
        part.write_parquet(tmp_path / "in" / f"part-{i}.parquet", row_group_size=70)

    def score(**options):
        arguments = {"id_columns": ["row"], "batch_rows": 64, "encoder": HashEncoder(), **options}
        return score_parquet(tmp_path / "artifact", tmp_path / "in" / "*.parquet", tmp_path / "out", **arguments)

    score.folder, score.X, score.model, score.events = tmp_path, X, model, events
    return score


def test_scores_are_those_of_predict_proba_in_the_same_order(job):
    written = job()
    assert [path.name for path in written] == ["part-0.parquet", "part-1.parquet", "part-2.parquet"]
    scores = pl.concat([pl.read_parquet(path) for path in written])
    assert scores["row"].equals(job.X["row"])
    proba = job.model.predict_proba(job.X)
    np.testing.assert_allclose(scores.select("proba_buy", "proba_leave").to_numpy(), proba, rtol=1e-6)
    assert scores["prediction"].to_list() == job.model.predict(job.X).tolist()
    assert scores.schema["proba_buy"] == pl.Float32


def test_events_in_place_of_the_artifacts_log(job):
    written = job(events=job.events[:40])
    scores = pl.concat([pl.read_parquet(path) for path in written])
    np.testing.assert_allclose(
        scores["proba_buy"], job.model.predict_proba(job.X, events=job.events[:40])[:, 0], rtol=1e-6
    )


def test_a_killed_run_goes_on_at_the_next_file(job):
    def killed(step, done, total):
        if done > 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(progress=killed)
    out = job.folder / "out"
    first = (out / "part-0.parquet").stat()
    assert sorted(path.name for path in out.iterdir()) == ["part-0.parquet", "part-1.parquet"]
    job()
    assert (out / "part-0.parquet").stat().st_mtime_ns == first.st_mtime_ns
    assert pl.read_parquet(out / "*.parquet").height == 500


def test_finished_files_are_scored_again_only_when_something_changed(job):
    target = job()[0]
    times = [target.stat().st_mtime_ns]
    job()
    times.append(target.stat().st_mtime_ns)
    job.X[:100].write_parquet(job.folder / "in" / "part-0.parquet")
    job()
    times.append(target.stat().st_mtime_ns)
    job.model.set_params(n_estimators=3).fit(job.X, job.X["price"] > 0.5, events=job.events).save(
        job.folder / "artifact"
    )
    job()
    times.append(target.stat().st_mtime_ns)
    assert times[0] == times[1] < times[2] < times[3]
    assert pl.read_parquet(target).columns == ["row", "prediction", "proba_False", "proba_True"]


def test_a_full_disk_is_said_plainly_and_loses_nothing(job, monkeypatch):
    write = pq.ParquetWriter.write_batch
    calls = []

    def full(self, batch, *rest, **options):
        calls.append(batch)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, batch, *rest, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(
        ScoringError, match=r"part-2.parquet could not be written: the disk is full; finished files stay"
    ):
        job()
    monkeypatch.undo()
    assert sorted(path.name for path in (job.folder / "out").iterdir()) == ["part-0.parquet", "part-1.parquet"]
    assert len(job()) == 3


def test_bad_inputs_are_named_before_anything_is_scored(job):
    folder = job.folder / "in"
    (folder / "part-3.parquet").write_text("not parquet")
    with pytest.raises(ScoringError, match=r"part-3.parquet is not a readable Parquet file"):
        job()
    job.X.drop("price").write_parquet(folder / "part-3.parquet")
    with pytest.raises(ScoringError, match=r"part-3.parquet has no column 'price'"):
        job()
    (folder / "part-3.parquet").unlink()
    with pytest.raises(ScoringError, match=r"no column 'rwo'; did you mean 'row'\?"):
        job(id_columns="rwo")
    with pytest.raises(ScoringError, match="no file matches"):
        score_parquet(job.folder / "artifact", job.folder / "none-*.parquet", job.folder / "out", encoder=HashEncoder())
    (folder / "more").mkdir()
    job.X.write_parquet(folder / "more" / "part-0.parquet")
    with pytest.raises(ScoringError, match=r"two input files are named 'part-0.parquet'"):
        score_parquet(job.folder / "artifact", folder / "**" / "*.parquet", job.folder / "out", encoder=HashEncoder())
    with pytest.raises(ScoringError, match="batch_rows"):
        job(batch_rows=0)
    assert not (job.folder / "out").exists()


def test_the_loaded_artifact_is_what_scores(job):
    loaded = load(job.folder / "artifact", encoder=HashEncoder())
    np.testing.assert_array_equal(loaded.predict_proba(job.X), job.model.predict_proba(job.X))
