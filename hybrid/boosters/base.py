"""What every booster does: bin a matrix, grow trees on it, score, explain, save."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hybrid.calibrator import Calibrator
from hybrid.errors import ParameterError
from hybrid.matrix import Column, FeatureMatrix

OnRound = Callable[[int, float], None]
"""Called after each boosting round with the round (from 0) and the validation metric; may raise to stop the training."""


@dataclass(frozen=True)
class TreeParameters:
    """Hyper-parameters under one name for every booster.

    Parameters
    ----------
    n_estimators : int, default 500
        Boosting rounds at most.
    learning_rate : float, default 0.05
    max_depth : int, default 6
        For LightGBM the leaves are limited to ``2 ** max_depth`` as well (255 at most).
    min_child_weight : float, default 1.0
        Least sum of hessians in a leaf.
    subsample : float in (0, 1], default 1.0
        Share of rows drawn for each tree.
    colsample : float in (0, 1], default 1.0
        Share of columns drawn for each tree.
    reg_lambda, reg_alpha : float, defaults 1.0 and 0.0
        L2 and L1 penalties on leaf values.
    extra : mapping, default empty
        Parameters of the library itself, under its own names; they win over the ones above. What the interface decides (objective, device,
        metric, rounds, bins, threads, seed) is refused.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    n_estimators: int = 500
    learning_rate: float = 0.05
    max_depth: int = 6
    min_child_weight: float = 1.0
    subsample: float = 1.0
    colsample: float = 1.0
    reg_lambda: float = 1.0
    reg_alpha: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("n_estimators", "max_depth"):
            if not isinstance(getattr(self, name), int | np.integer) or getattr(self, name) < 1:
                raise ParameterError(f"{name} must be a whole number of at least 1, not {getattr(self, name)!r}")
        for name in ("subsample", "colsample"):
            if not 0 < getattr(self, name) <= 1:
                raise ParameterError(f"{name} must lie in (0, 1], not {getattr(self, name)!r}")
        for name in ("min_child_weight", "reg_lambda", "reg_alpha"):
            if not getattr(self, name) >= 0:
                raise ParameterError(f"{name} must be at least 0, not {getattr(self, name)!r}")
        if not self.learning_rate > 0:
            raise ParameterError(f"learning_rate must be greater than 0, not {self.learning_rate!r}")

    def merged(self, own: Mapping[str, Any], *, aliases: Mapping[str, str], reserved: Set[str]) -> dict[str, Any]:
        """The library's parameters: ``own``, less what ``extra`` sets under the same name or an alias, plus ``extra``."""
        refused = sorted(reserved & set(self.extra))
        if refused:
            raise ParameterError(f"extra must not set {', '.join(refused)}: use the parameter of that purpose instead")
        replaced = {aliases.get(name, name) for name in self.extra}
        return {name: value for name, value in own.items() if name not in replaced} | dict(self.extra)


@dataclass(frozen=True)
class BinnedData:
    """A matrix in the library's own binned form, ready for many trainings: bin once a fold, not once a trial.

    ``device`` is where it was binned and will be trained on: ``cpu``, ``cuda`` (or ``cuda:N``) or ``opencl``. ``absent_codes`` are the
    categories, by position of their column, that the training data do not hold.
    """

    native: Any
    columns: tuple[Column, ...]
    y: np.ndarray
    weight: np.ndarray | None
    max_bin: int
    device: str
    absent_codes: Mapping[int, list[int]] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return len(self.y)


class Booster(ABC):
    """One trained ensemble of trees.

    ``columns`` are the matrix's columns, ``n_classes`` the number of classes (2: one margin), ``device`` the device that really trained it
    (``cpu``, ``cuda``, ``cuda:N`` or ``opencl``) and ``best_iteration`` the number of rounds that predictions use. Predictions run where
    the matrix lies, so a model trained on a GPU scores on a machine without one. ``calibrator`` makes probabilities of margins in place of
    the link that the trees were grown with, where ``calibrated`` gave one.
    """

    name: ClassVar[str]
    file_name: ClassVar[str]
    continues: ClassVar[bool] = False

    def __init__(
        self,
        native: Any,
        *,
        columns: tuple[Column, ...],
        n_classes: int,
        device: str,
        best_iteration: int,
        n_jobs: int | None = None,
    ) -> None:
        self.columns = columns
        self.n_classes = n_classes
        self.device = device
        self.best_iteration = best_iteration
        self.calibrator: Calibrator | None = None
        self._native = native
        self._n_jobs = n_jobs or 0

    @property
    def n_margins(self) -> int:
        """Raw scores a row: one for two classes, else one a class."""
        return 1 if self.n_classes == 2 else self.n_classes

    @classmethod
    @abstractmethod
    def resolve_device(cls, device: str) -> str:
        """The device that training will use for ``auto``, ``cpu`` or ``cuda``; DeviceError, before any long work, where it is not there."""

    @classmethod
    @abstractmethod
    def bin(
        cls,
        matrix: FeatureMatrix,
        y: np.ndarray,
        *,
        weight: np.ndarray | None = None,
        reference: BinnedData | None = None,
        max_bin: int = 256,
        device: str = "cpu",
        n_jobs: int | None = None,
    ) -> BinnedData:
        """Bin a matrix with its labels (codes 0 .. n_classes - 1), and take the margin that it carries for the trees to start from.

        Validation data name the training data as ``reference`` and take bins and device from it.
        """

    @classmethod
    @abstractmethod
    def train(
        cls,
        data: BinnedData,
        *,
        n_classes: int,
        parameters: TreeParameters,
        valid: BinnedData | None = None,
        metric: str = "log_loss",
        early_stopping_rounds: int | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
        on_round: OnRound | None = None,
    ) -> Self:
        """Grow trees on ``data``; with ``valid``, stop when ``metric`` (scikit-learn's name) has not improved for the declared rounds."""

    def continued(
        self,
        matrix: FeatureMatrix,
        y: np.ndarray,
        *,
        parameters: TreeParameters,
        valid: tuple[FeatureMatrix, np.ndarray] | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
        on_round: OnRound | None = None,
    ) -> Self:
        """These trees with ``parameters.n_estimators`` more after them, grown on other rows; only where ``continues`` is true."""
        raise ParameterError(f"{self.name} cannot grow more trees after those of a trained model; use XGBoost")

    @abstractmethod
    def margin(self, matrix: FeatureMatrix) -> np.ndarray:
        """Raw scores before the link, float32 of shape (n_rows, n_margins); one margin for two classes."""

    def predict_proba(self, matrix: FeatureMatrix) -> np.ndarray:
        """Class probabilities, float32 of shape (n_rows, n_classes)."""
        if self.calibrator is None:
            return self._probabilities(matrix)
        return self.calibrator.probabilities(self.margin(matrix))

    def calibrated(self, calibrator: Calibrator | None) -> Self:
        """The same trees with another way from margins to probabilities; None for their own. Margins and contributions stay."""
        other = copy.copy(self)
        other.calibrator = calibrator
        return other

    @abstractmethod
    def _probabilities(self, matrix: FeatureMatrix) -> np.ndarray:
        """Class probabilities by the trees' own link."""

    @abstractmethod
    def contributions(self, matrix: FeatureMatrix) -> np.ndarray:
        """Exact tree SHAP values, float32 of shape (n_rows, n_margins, n_columns + 1): the last is the bias, they sum to the margin.

        Where the matrix carries a margin, the bias holds its mean, and the sum lacks ``matrix.margin.contributions``.
        """

    @abstractmethod
    def gain(self) -> np.ndarray:
        """Total loss reduction of the splits on each column, float64 of shape (n_columns,); 0 where a column is never used."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the trees to ``folder / file_name`` in the library's own open format."""

    @classmethod
    @abstractmethod
    def load(
        cls, folder: Path, *, columns: tuple[Column, ...], n_classes: int, device: str, best_iteration: int
    ) -> Self:
        """Read what ``save`` wrote."""
