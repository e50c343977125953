"""Where studies live: a database by its URL, a journal file by its path, or memory; and whether an old study may go on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from features.frames import closest
from hybrid.artifact import versions
from tuning.errors import StudyError
from tuning.lost import HEARTBEAT_SECONDS, SILENT_SECONDS, put_back

FINGERPRINT = "fingerprint"
HEAD_START = "model that the text head starts from"
_LOCKED_SECONDS = 30
"""How long SQLite waits for another process's transaction."""

_STALE_LOCK_SECONDS = 5
"""How long a journal may be locked without being written before a process that was killed is thought to hold it; Optuna waits 30."""

_POSTGRES = {"psycopg": "postgresql+psycopg", "psycopg2": "postgresql+psycopg2"}
"""What SQLAlchemy calls the drivers of PostgreSQL, by the module that each brings."""
_HINTS = {
    "unable to open": "create its folder first, and check that you may write there",
    "No such file": "create its folder first",
    "readonly": "it is read-only: allow writing, or name another database",
    "Permission denied": "you may not write there: allow writing, or name another path",
    "locked": "another program holds it: wait for that one, or name another database",
    "not a database": "it is a file of another kind: name another path",
    "Connection refused": "start the database server, or correct its address",
    "password authentication failed": "correct user and password in the URL",
}


def open_study(
    storage: str | Path | BaseStorage | None,
    name: str,
    *,
    greater_is_better: bool,
    fingerprint: Mapping[str, str],
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """Create the study, or load the one of that name if it was made with the same data, folds, metric and space.

    Raises
    ------
    StudyError
        The storage cannot be used, or holds a study of that name that was made with something else.
    """
    with storage_errors(storage):
        study = optuna.create_study(
            storage=backend_of(storage),
            study_name=name,
            direction="maximize" if greater_is_better else "minimize",
            pruner=pruner,
            load_if_exists=True,
        )
        made_with = study.user_attrs.get(FINGERPRINT)
        if made_with is None and study.get_trials(deepcopy=False):
            raise StudyError(f"the study {name!r} in {_shown(storage)} was not made by tune; use another study_name")
        if made_with is not None and made_with != fingerprint:
            changed = "; ".join(_differences(made_with, fingerprint))
            raise StudyError(
                f"the study {name!r} in {_shown(storage)} cannot go on, since this differs: {changed}. "
                "Give what it was made with, or use another study_name"
            )
        study.set_user_attr(FINGERPRINT, dict(fingerprint))  # also shows at once whether the storage can be written
        study.set_user_attr("versions", versions())
    return study


@contextmanager
def storage_errors(storage: object) -> Iterator[None]:
    """Turn what a database or a file system raises into a StudyError that says what to do."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error.__cause__ or error).splitlines()[0]
        hint = next((f"; {advice}" for sign, advice in _HINTS.items() if sign in reason), "")
        raise StudyError(f"the storage {_shown(storage)} cannot be used: {reason}{hint}") from error


def existing_study(storage: str | Path | BaseStorage | None, name: str) -> optuna.Study:
    """The study of that name, to be read.

    Raises
    ------
    StudyError
        There is none, which names those that there are; or the storage cannot be used.
    """
    with storage_errors(storage):
        file = _file_of(storage)
        if file is not None and not file.exists():  # which opening it would make
            raise StudyError(f"no study {name!r} in {_shown(storage)}: there is no such file")
        backend = backend_of(storage, write=False)
        if backend is None:
            raise StudyError("a study without a storage ends with its process: name one, storage=...")
        names = optuna.get_all_study_names(backend)
        if name not in names:
            there = f"there are {', '.join(map(repr, names))}" if names else "it holds none"
            raise StudyError(f"no study {name!r} in {_shown(storage)}{closest(name, names) or '; ' + there}")
        return optuna.load_study(study_name=name, storage=backend)


def backend_of(storage: str | Path | BaseStorage | None, *, write: bool = True) -> BaseStorage | None:
    """The storage that a user names; None for memory.

    Databases get a heartbeat, by which trials of a host that died return to the queue.
    """
    if storage is None or isinstance(storage, BaseStorage):
        return storage
    if "://" not in str(storage):
        path = Path(storage)
        if path.suffix in (".db", ".sqlite", ".sqlite3"):
            raise StudyError(
                f"storage={str(storage)!r} is a path, which means a journal file; for SQLite write 'sqlite:///{path}'"
            )
        return JournalStorage(JournalFileBackend(str(path), JournalFileSymlinkLock(str(path), _STALE_LOCK_SECONDS)))
    try:
        url = _with_driver(make_url(str(storage)))
    except ArgumentError:
        raise StudyError(
            f"the storage {_shown(storage)} is no URL that can be read, such as 'sqlite:///study.db'"
        ) from None
    sqlite = url.get_backend_name() == "sqlite"
    waits = {"connect_args": {"timeout": _LOCKED_SECONDS}} if sqlite and "timeout" not in url.query else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            backend = RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs=waits,
                heartbeat_interval=HEARTBEAT_SECONDS if write else None,
                grace_period=SILENT_SECONDS,
                heartbeat_stale_trial_callback=_put_back,
            )
        except ImportError as error:
            raise StudyError(f"the driver of {url.drivername!r} is not installed: {error.__cause__}") from error
    if sqlite and write:
        _write_at_once(backend.engine)
    return backend


def _file_of(storage: str | Path | BaseStorage | None) -> Path | None:
    """The file that a storage lies in, where it is one."""
    if storage is None or isinstance(storage, BaseStorage):
        return None
    scheme, separator, path = str(storage).partition(":///")
    if not separator:
        return None if "://" in scheme else Path(scheme)
    return Path(path.split("?")[0]) if scheme.startswith("sqlite") and path and not path.startswith("file:") else None


def _write_at_once(engine: sqlalchemy.Engine) -> None:
    """Let every transaction take the database's write lock when it begins.

    SQLite has no locks of rows, and Optuna 5.0 reads before it writes: two processes that ask at once were handed the same queued trial.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # else Python's sqlite3 begins transactions itself, and only before a write

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections that were made before


def _put_back(record: optuna.Study, trial: FrozenTrial) -> None:
    put_back(record, trial)


def _with_driver(url: URL) -> URL:
    """A plain postgresql:// with the driver that is installed."""
    if url.drivername != "postgresql":
        return url
    for module, drivername in _POSTGRES.items():
        if find_spec(module):
            return url.set(drivername=drivername)
    raise StudyError("PostgreSQL needs a driver: pip install 'intentree[postgres]'")


def _shown(storage: Any) -> str:
    """The storage as a message may show it: without a password."""
    if isinstance(storage, str) and "://" in storage:
        try:
            return repr(make_url(storage).render_as_string(hide_password=True))
        except SQLAlchemyError:
            return "given as a URL"
    return repr(str(storage)) if isinstance(storage, str | Path) else type(storage).__name__


def _differences(made_with: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """What differs, with both values where they are short enough to read."""
    words = []
    for name in dict.fromkeys([*made_with, *given]):
        before, now = made_with.get(name), given.get(name)
        if before == now:
            continue
        hashes = name in ("examples", "labels", "events", "folds", "holdout", HEAD_START)
        words.append(f"the {name}" if hashes else f"{name} was {before or 'absent'}, is {now or 'absent'}")
    return words
