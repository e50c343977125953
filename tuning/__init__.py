"""Tuning: Optuna studies over a hybrid classifier."""

from tuning.errors import FoldError, SpaceError, StudyError, WorkerError
from tuning.space import SearchSpace
from tuning.status import StudyStatus, status
from tuning.study import Study, tune

__all__ = [
    "FoldError",
    "SearchSpace",
    "SpaceError",
    "Study",
    "StudyError",
    "StudyStatus",
    "WorkerError",
    "status",
    "tune",
]
