"""Studies of several hosts over PostgreSQL, against a server of the test's own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import tuning.storage
from hybrid import HybridClassifier
from tuning import StudyError, status, tune

ROOT = Path(__file__).parents[1]
DRIVER = importlib.util.find_spec("psycopg") is not None
needs_driver = pytest.mark.skipif(not DRIVER, reason="needs psycopg (pip install 'intentree[postgres]')")

STUDY = """
[examples]
train = "train.parquet"
label = "bought"

[model]
numeric = ["price"]
n_estimators = 150
early_stopping_rounds = false
n_jobs = 1

[tune]
n_trials = 30
timeout = "1s"
folds = 2
cv = "time"
time = "ts"
space = { booster = "xgboost", max_depth = { low = 2, high = 4 } }
storage = "STORAGE"
study_name = "shared"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a database, on a server that lasts as long as this module."""
    if not DRIVER:
        pytest.skip("needs psycopg (pip install 'intentree[postgres]')")
    places = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
    initdb, pg_ctl = (shutil.which(command, path=places) for command in ("initdb", "pg_ctl"))
    if initdb is None or pg_ctl is None:
        pytest.skip("needs PostgreSQL: initdb and pg_ctl are not on the path (Debian: apt install postgresql)")
    account: dict[str, Any] = {}
    if os.name == "posix" and os.geteuid() == 0:  # initdb refuses to run as root
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if account:
        shutil.chown(folder, account["user"], account["group"])
    data, log = str(folder / "data"), str(folder / "log")

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **account)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run(initdb, "-D", data, "-U", "tuner", "-A", "trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        subprocess.run(
            [pg_ctl, "-D", data, "-l", log, "-w", "-o", options, "start"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,  # which the server keeps open
            **account,
        )
        yield f"postgresql://tuner@127.0.0.1:{port}/postgres"
        run(pg_ctl, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_processes_share_a_study_and_no_trial_is_counted_twice(server: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    price = rng.random(400)
    times = [datetime(2026, 1, 1) + timedelta(minutes=int(m)) for m in rng.integers(0, 10_000, 400)]
    pl.DataFrame({"price": price, "ts": times, "bought": price + rng.normal(0, 0.3, 400) > 0.5}).write_parquet(
        tmp_path / "train.parquet"
    )
    (tmp_path / "study.toml").write_text(STUDY.replace("STORAGE", server))
    # One trial, more or less, and a goal of 30; then two that were not there when it was set.
    command = [sys.executable, "-c", "from intentree.cli import app; app()", "tune", str(tmp_path / "study.toml")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    begun = status(server, "shared")
    assert 1 <= begun.finished < 30
    assert begun.finished + begun.left == 30

    (tmp_path / "study.toml").write_text(STUDY.replace("STORAGE", server).replace('timeout = "1s"\n', ""))
    helpers = [subprocess.Popen([*command, "--worker"], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [helper.communicate(timeout=120)[0] for helper in helpers]
    assert [helper.returncode for helper in helpers] == [0, 0]
    assert all("the study 'shared' has all its trials" in one for one in said)

    frame = pl.read_parquet(tmp_path / "train.parquet")
    model = HybridClassifier(numeric=["price"], n_estimators=150, early_stopping_rounds=None, n_jobs=1)
    space = {"booster": "xgboost", "max_depth": (2, 4)}
    settings: dict[str, Any] = {"cv": "time", "time": "ts", "folds": 2, "space": space, "n_trials": 0}
    study = tune(model, frame.drop("bought"), frame["bought"], storage=server, study_name="shared", **settings)
    trials = study.optuna_study.trials
    assert 30 <= len(trials) <= 31  # both may see that one is missing
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert set(study.trials["state"]) <= {"COMPLETE", "PRUNED"}
    ran = Counter(trial.user_attrs["worker"]["pid"] for trial in trials)
    assert set(ran) > {helper.pid for helper in helpers}
    drawn = study.trials.select("learning_rate", "subsample", "colsample")
    assert drawn.n_unique() == len(trials)


@needs_driver
def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(StudyError, match="start the database server") as raised:
        status("postgresql://tuner:secret@127.0.0.1:1/postgres")
    assert "secret" not in str(raised.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning.storage, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install 'intentree\[postgres\]'"):
        status("postgresql://127.0.0.1/postgres")
