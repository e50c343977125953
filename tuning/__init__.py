"""Tuning: Optuna studies over a hybrid classifier."""

from tuning.errors import FoldError, SpaceError, StudyError
from tuning.space import SearchSpace
from tuning.study import Study, tune

__all__ = ["FoldError", "SearchSpace", "SpaceError", "Study", "StudyError", "tune"]
