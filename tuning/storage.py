"""Where studies live: a database by its URL, a journal file by its path, or memory; and whether an old study may go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from hybrid.artifact import versions
from tuning.errors import StudyError

FINGERPRINT = "fingerprint"
_HINTS = {
    "unable to open": "create its folder first, and check that you may write there",
    "No such file": "create its folder first",
    "readonly": "it is read-only: allow writing, or name another database",
    "Permission denied": "you may not write there: allow writing, or name another path",
    "locked": "another program holds it: wait for that one, or name another database",
    "not a database": "it is a file of another kind: name another path",
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
            storage=_backend(storage),
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


def _backend(storage: str | Path | BaseStorage | None) -> str | BaseStorage | None:
    if storage is None or isinstance(storage, BaseStorage) or "://" in str(storage):
        return storage if isinstance(storage, BaseStorage) or storage is None else str(storage)
    path = Path(storage)
    if path.suffix in (".db", ".sqlite", ".sqlite3"):
        raise StudyError(
            f"storage={str(storage)!r} is a path, which means a journal file; for SQLite write 'sqlite:///{path}'"
        )
    return JournalStorage(JournalFileBackend(str(path)))


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
        hashes = name in ("examples", "labels", "events", "folds")
        words.append(f"the {name}" if hashes else f"{name} was {before or 'absent'}, is {now or 'absent'}")
    return words
