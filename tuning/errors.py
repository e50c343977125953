"""The mistakes that `tuning` tells apart."""

from __future__ import annotations


class SpaceError(ValueError):
    """A search space that names what cannot be tuned, or leaves nothing to choose."""


class FoldError(ValueError):
    """Folds that cannot be made, or that cannot be learned from."""


class StudyError(RuntimeError):
    """A study that cannot be opened, belongs to other data, or has no finished trial."""


class WorkerError(RuntimeError):
    """What ended a trial in a worker process: an error there, or the end of the process."""
