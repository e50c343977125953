"""Studies over several processes: what workers share, what a crash costs, who puts lost trials back, and how a study stands."""

from __future__ import annotations

import itertools
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import psutil
import pytest

from features import BehaviorFeatures, EventLog
from hybrid import HybridClassifier, ParameterError, TextEncoder, TextHead
from tests.encoders import HashEncoder
from tuning import Study, StudyError, StudyStatus, WorkerError, status, tune
from tuning.memory import n_bytes
from tuning.plan import Plan
from tuning.slots import slots, visible_devices
from tuning.storage import backend_of
from tuning.trials import ask

ROOT = Path(__file__).parents[1]
N = 300
RNG = np.random.default_rng(5)
WORDS = np.array(["red", "blue", "green", "shoe", "boot", "lamp", "desk", "cup"])
EXAMPLES = pl.DataFrame(
    {
        "user": RNG.integers(0, 20, N),
        "query": [" ".join(RNG.choice(WORDS, 2)) for _ in range(N)],
        "title": [" ".join(RNG.choice(WORDS, 3)) for _ in range(N)],
        "price": RNG.random(N).round(3),
        "shelf": RNG.choice(["a", "b", "c"], N),
        "ts": [datetime(2026, 2, 1, hour) for hour in RNG.integers(0, 24, N)],
    }
)
EVENTS = pl.DataFrame(
    {
        "user": RNG.integers(0, 20, 500),
        "event": RNG.choice(["click", "buy"], 500),
        "ts": [datetime(2026, 1, day) for day in RNG.integers(1, 32, 500)],
    }
)
SHALLOW = {"booster": "xgboost", "max_depth": (3, 4)}
LABELS = np.where(EXAMPLES["query"].str.contains("red").to_numpy() ^ (RNG.random(N) < 0.15), "buys", "leaves")


def small(**settings: Any) -> HybridClassifier:
    return HybridClassifier(
        **{"numeric": ["price"], "categorical": ["shelf"], "early_stopping_rounds": None, "n_jobs": 2} | settings
    )


def tuned(model: HybridClassifier, **settings: Any) -> Study:
    events = EVENTS if model.behavior is not None else None
    return tune(model, EXAMPLES, LABELS, events, **{"cv": "stratified", "folds": 2} | settings)


def workers_of(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children()
    return [child for child in children if "tuning.worker" in child.cmdline()]


def told_apart(study: Study) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Trials that died with their process and were tried again, and all others."""
    again = {n for trial in study.optuna_study.trials for n in trial.user_attrs.get("retry of", [])}
    lost = study.trials.filter(pl.col("number").is_in(again))
    return lost, study.trials.filter(~pl.col("number").is_in(again))


class Watched:
    """A study of two workers, one of which is killed in mid-trial, and what was seen of its processes meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[StudyStatus] = []
        self.environments: list[dict[str, str]] = []
        self.plan_mode = 0
        self.plan_files: list[str] = []
        self.plan_folder = Path()
        self.study = tuned(
            small(n_estimators=400),
            space={"booster": "xgboost", "max_depth": (3, 5)},
            n_trials=8,
            n_workers=2,
            memory="200MB",
            storage=f"sqlite:///{folder}/s.db",
            study_name="watched",
            on_trial=self.look,
        )

    def look(self, standing: StudyStatus) -> None:
        self.seen.append(standing)
        if standing.finished == 2 and not self.environments and standing.running:
            workers = workers_of(os.getpid())
            self.environments = [worker.environ() for worker in workers]
            self.plan_folder = Path(workers[0].cmdline()[-1])
            self.plan_mode = stat.S_IMODE(self.plan_folder.stat().st_mode)
            self.plan_files = [path.suffix for path in self.plan_folder.iterdir()]
            busy = int(standing.running[0].worker.split()[-1]) - 1
            workers[busy].kill()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(tmp_path_factory.mktemp("watched"))


def test_a_killed_worker_costs_its_trial_alone_and_that_is_tried_again(watched: Watched) -> None:
    lost, counted = told_apart(watched.study)
    assert (lost.height, counted.height) == (1, 8)
    assert lost["state"].to_list() == ["FAIL"]
    assert set(counted["state"]) <= {"COMPLETE", "PRUNED"}
    drawn = watched.study.space.keys()
    assert counted.join(lost, on=list(drawn), nulls_equal=True).height == 1


def test_workers_score_trials_as_one_does(watched: Watched) -> None:
    plan = Plan.build(watched.study.task, watched.study.space)
    complete = [trial for trial in watched.study.optuna_study.trials if trial.state.name == "COMPLETE"][-3:]
    for trial in complete:
        alone = [plan.train(fold, trial.user_attrs["settings"], lambda *_: None).value for fold in range(2)]
        assert trial.value == pytest.approx(np.mean(alone), abs=1e-9)


def test_cores_are_divided_among_workers(watched: Watched) -> None:
    assert len(watched.environments) == 2
    for environment in watched.environments:
        assert environment["OMP_NUM_THREADS"] == environment["POLARS_MAX_THREADS"] == "1"


def test_the_plan_is_private_holds_no_pickle_and_goes_with_the_study(watched: Watched) -> None:
    assert watched.plan_mode == 0o700
    assert set(watched.plan_files) == {".json", ".npy", ".log"}
    assert not watched.plan_folder.exists()
    assert workers_of(os.getpid()) == []


def test_status_follows_the_study_and_is_read_without_its_data(watched: Watched) -> None:
    url = watched.study.optuna_study._storage._backend.url
    ended = [standing.finished + standing.pruned for standing in watched.seen]
    assert ended == list(range(9))
    assert [standing.left for standing in watched.seen] == list(range(8, -1, -1))
    assert any(standing.running for standing in watched.seen)
    found = status(url, "watched")
    assert (found.finished + found.pruned, found.failed, found.lost, found.left) == (8, 0, 1, 0)
    assert found.best == (watched.study.best_trial.number, watched.study.best_value)
    assert found.trials_per_minute == pytest.approx(60 * 8 / told_apart(watched.study)[1]["duration_s"].sum(), rel=1e-6)
    assert str(found).startswith(f"8 of 8 trials, best log_loss {watched.study.best_value:.5f} (trial ")
    with pytest.raises(StudyError, match=r"no study 'watch' in .*; did you mean 'watched'"):
        status(url, "watch")


def with_head() -> HybridClassifier:
    return small(
        text={"query": "query", "item": "title"},
        behavior=BehaviorFeatures(EventLog(user="user", event="event", timestamp="ts"), keys=["user"], windows=["7d"]),
        encoder=TextEncoder(HashEncoder(), store=None),
        head="margin",
        text_channels={"head": TextHead(words=8, hidden=8, folds=2), "coordinates": {"n": 4, "reduction": "truncate"}},
        class_weight={"buys": 2.0, "leaves": 1.0},
        feature_weights={"query text": 0.5},
        n_estimators=15,
        n_jobs=1,
    )


def test_a_worker_trains_as_this_process_does() -> None:
    here, there = (
        tuned(with_head(), n_trials=8, isolate=isolate, random_state=3).trials.drop("duration_s")
        for isolate in (False, True)
    )
    assert here.equals(there)
    assert here.filter(state="COMPLETE")["value"].n_unique() > 3


def test_errors_of_workers_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        StudyError, match=r"no trial finished, 2 failed; the first with XGBoostError: .*no such"
    ) as raised:
        tuned(
            small(booster_params={"tree_method": "no such method"}),
            n_trials=2,
            isolate=True,
            space={"booster": "xgboost"},
        )
    assert isinstance(raised.value.__cause__, WorkerError)
    assert "in train_trial" in raised.value.__cause__.__notes__[0]
    assert len([record for record in caplog.records if "failed" in record.message]) == 1


def test_a_second_ctrl_c_does_not_wait_for_a_round() -> None:
    pressed: list[int] = []

    def twice(standing: StudyStatus) -> None:
        if standing.finished and standing.running and not pressed:
            pressed.append(standing.finished)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(UserWarning, match="interrupted"):
        study = tuned(small(n_estimators=300), n_trials=50, n_workers=2, space=SHALLOW, pruner=None, on_trial=twice)
    assert study.interrupted
    states = study.trials["state"].to_list()
    assert states.count("COMPLETE") == pressed[0]
    assert set(states) == {"COMPLETE", "FAIL"}
    assert workers_of(os.getpid()) == []


SCRIPT = textwrap.dedent(
    """
    import sys, tests.test_tuning_workers as t
    t.tuned(t.small(n_estimators=800, n_jobs=1), n_trials=5, n_workers=2, space=t.SHALLOW, storage=sys.argv[1],
            on_trial=lambda standing: print(standing.finished, flush=True))
    """
)


@pytest.fixture
def script() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_study_whose_process_was_killed_is_finished_by_another(
    tmp_path: Path, script: list[subprocess.Popen[str]]
) -> None:
    storage = str(tmp_path / "s.journal")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, storage], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    script.append(process)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "1":
        assert process.poll() is None
    workers = workers_of(process.pid)
    plan = Path(workers[0].cmdline()[-1])
    while not status(storage).running:  # between two trials none runs
        assert process.poll() is None
    process.kill()
    process.wait()
    running = status(storage).running
    assert {trial.worker.split(":")[1].split()[0] for trial in running} == {str(process.pid)}

    study = tuned(small(n_estimators=800, n_jobs=1), n_trials=None, space=SHALLOW, storage=storage)
    lost, counted = told_apart(study)
    assert counted.height == 5
    assert lost.height == len(running) > 0
    assert "RUNNING" not in study.trials["state"]
    assert tuned(small(n_estimators=800, n_jobs=1), n_trials=None, space=SHALLOW, storage=storage).trials.equals(
        study.trials
    )
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    assert not plan.exists()


def test_settings_that_die_twice_are_not_tried_again(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    quick = small(n_estimators=3)
    tuned(quick, n_trials=2, storage=storage)
    record = optuna.load_study(study_name="intentree", storage=storage)
    with subprocess.Popen(["true"]) as gone:
        gone.wait()

    def dies(trial: optuna.Trial) -> dict[str, Any]:
        """Sign a trial as a process of this host would that is no more."""
        drawn = trial.suggest_float("learning_rate", 0.02, 0.3, log=True)
        signed = {**record.trials[0].user_attrs["worker"], "pid": gone.pid, "born": "0"}
        trial.set_user_attr("worker", signed)
        return {"learning_rate": drawn}

    drawn = dies(record.ask())
    assert tuned(quick, n_trials=0, storage=storage).trials["state"][2] == "RUNNING"
    record.enqueue_trial(drawn, user_attrs={"retry of": [2]})
    record.tell(2, state=optuna.trial.TrialState.FAIL)
    dies(record.ask())
    study = tuned(quick, n_trials=1, storage=storage)
    assert study.trials["state"].to_list() == ["COMPLETE", "COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    found = status(storage)
    assert (found.finished, found.failed, found.lost) == (3, 1, 1)


def test_a_trial_of_a_host_that_fell_silent_is_put_back(tmp_path: Path) -> None:
    quick, url = small(n_estimators=3), f"sqlite:///{tmp_path}/s.db"
    tuned(quick, n_trials=1, storage=url)
    own = backend_of(url)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        hasty = optuna.storages.RDBStorage(
            url, heartbeat_interval=1, heartbeat_stale_trial_callback=own.get_heartbeat_stale_trial_callback()
        )
    record = optuna.load_study(study_name="intentree", storage=hasty)
    trial = ask(record)
    trial.set_user_attr("worker", {**record.trials[0].user_attrs["worker"], "host": "elsewhere"})
    depth = trial.suggest_int("max_depth", 3, 10)
    hasty.record_heartbeat(trial._trial_id)
    assert tuned(quick, n_trials=1, storage=url).trials["state"].to_list() == ["COMPLETE", "RUNNING", "COMPLETE"]
    time.sleep(3.1)
    study = tuned(quick, n_trials=1, storage=hasty)
    assert study.trials["state"].to_list() == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials["max_depth"].to_list()[3] == depth
    record = optuna.load_study(study_name="intentree", storage=url)
    with pytest.raises(ValueError, match="FAIL"):  # the host that was thought dead comes back
        record.tell(1, 0.0)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_queued_trial_is_handed_to_one_process_only(tmp_path: Path, kind: str) -> None:
    storage: Any = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else tmp_path / "s.journal"
    record = optuna.create_study(storage=backend_of(storage), study_name="queue")
    for n in range(24):
        record.enqueue_trial({"x": n})
    asked: list[int] = []

    def six() -> None:
        mine = optuna.load_study(study_name="queue", storage=backend_of(storage))
        for _ in range(6):
            asked.append(ask(mine).number)

    askers = [threading.Thread(target=six) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(asked) == list(range(24))


def test_a_study_is_joined_only_where_it_is(tmp_path: Path) -> None:
    for storage in (tmp_path / "s.journal", f"sqlite:///{tmp_path}/s.db"):
        with pytest.raises(StudyError, match=r"no study 'intentree' in .*: there is no such file"):
            tuned(small(), n_trials=None, storage=storage)
    assert list(tmp_path.iterdir()) == []
    optuna.create_study(storage=backend_of(f"sqlite:///{tmp_path}/s.db"), study_name="intent")
    with pytest.raises(StudyError, match=r"no study 'intentree' in .*; did you mean 'intent'"):
        tuned(small(), n_trials=None, storage=f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(StudyError, match="a study without a storage ends with its process"):
        tuned(small(), n_trials=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": "4 gigs"}, "memory='4 gigs' is not a number of bytes"),
        ({"memory": 0}, "memory=0"),
        ({"n_workers": 2, "isolate": False}, "n_workers=2 are processes"),
    ],
)
def test_mistakes_about_workers_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        tuned(small(), n_trials=1, **settings)


def given_up(values: list[float], earlier: list[list[float]], n_folds: int) -> bool:
    """What the rule says, by walking through all ways that signs could fall."""
    done = len(values)
    if done == n_folds or len(earlier) < 8:
        return False
    if n_folds < 5:
        return bool(np.mean(values) > np.median([np.mean(other[:done]) for other in earlier]))
    best = min(earlier, key=np.mean)
    excess = [value - other for value, other in zip(values, best, strict=False)]
    ranks = [1 + sum(abs(b) < abs(a) for b in excess) for a in excess]
    signed = [sum(r for r, up in zip(ranks, ups, strict=True) if up) for ups in itertools.product([0, 1], repeat=done)]
    own = sum(r for r, e in zip(ranks, excess, strict=True) if e > 0)
    return sum(other >= own for other in signed) / len(signed) < 0.1


@pytest.mark.parametrize("folds", [3, 6])
def test_trials_are_given_up_after_folds_on_which_they_fell_behind(folds: int) -> None:
    model = small(n_estimators=9, n_jobs=1, categorical=())  # too few rounds to be given up in the midst of a fold
    y = EXAMPLES["price"].to_numpy() + np.random.default_rng(0).normal(0, 0.3, N) > 0.5
    settings: dict[str, Any] = {"cv": "stratified", "folds": folds, "n_trials": 25, "space": {"booster": "lightgbm"}}
    study = tune(model, EXAMPLES, y, **settings)
    earlier: list[list[float]] = []
    lengths = set()
    for trial in study.optuna_study.trials:
        values = trial.user_attrs["result"]["values"]
        verdicts = [given_up(values[: i + 1], earlier, folds) for i in range(len(values))]
        assert verdicts == [False] * (len(values) - 1) + [trial.state.name == "PRUNED"]
        if trial.state.name == "COMPLETE":
            earlier.append(values)
        else:
            lengths.add(len(values))
    assert lengths
    assert min(lengths) >= (4 if folds == 6 else 1)
    unpruned = tune(model, EXAMPLES, y, pruner=None, **settings)
    assert set(unpruned.trials["state"]) == {"COMPLETE"}
    with pytest.raises(ParameterError, match='pruner must be "auto" or None'):
        tuned(model, pruner="median")


def test_each_worker_sees_one_gpu() -> None:
    def seen(n_workers: int, device: str, visible: str) -> list[str]:
        devices = visible_devices(3, {"CUDA_VISIBLE_DEVICES": visible} if visible else {})
        made = slots(n_workers, n_jobs=2, device=device, devices=devices, environ={"OMP_NUM_THREADS": "1"})
        assert {slot["OMP_NUM_THREADS"] for slot in made} == {"1"}
        assert {slot["MKL_NUM_THREADS"] for slot in made} == {"2"}
        return [slot["CUDA_VISIBLE_DEVICES"] for slot in made]

    assert seen(3, "cuda", "") == ["0", "1", "2"]
    assert seen(3, "cuda", "GPU-a,GPU-b") == ["GPU-a", "GPU-b", "GPU-a"]
    assert seen(2, "cuda:1", "5,7") == ["7", "7"]
    assert "CUDA_VISIBLE_DEVICES" not in slots(1, n_jobs=2, device=None, devices=[])[0]


def test_memory_is_bytes_with_or_without_a_unit() -> None:
    assert [n_bytes(m) for m in ("4GB", "1.5 GiB", "300 mb", 12)] == [4 * 10**9, 3 * 2**29, 3 * 10**8, 12]
