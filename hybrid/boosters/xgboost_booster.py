"""XGBoost: the booster for a GPU, where it takes CUDA tensors as they are, and the default on a CPU."""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from hybrid.boosters.base import BinnedData, Booster, OnRound, TreeParameters
from hybrid.boosters.categories import absent_codes, with_codes_missing
from hybrid.boosters.checks import check_columns, check_labels, check_values
from hybrid.boosters.rounds import RoundWatch, check_watch
from hybrid.device import resolve_device
from hybrid.errors import DeviceError
from hybrid.matrix import Column, FeatureMatrix
from hybrid.metrics import metric as find_metric

try:
    import xgboost as xgb
except ModuleNotFoundError as error:
    if error.name != "xgboost":
        raise
    raise ImportError(
        "booster='xgboost' needs the package xgboost: pip install 'intentree[cpu]', or 'intentree[cuda]' on a machine with a GPU"
    ) from error

logger = logging.getLogger(__name__)

FEW_ROWS = 64
"""XGBoost scores blocks of 64 rows: a second thread has nothing to do below that, and waking it on a busy machine costs milliseconds."""

ALIASES = {"eta": "learning_rate", "lambda": "reg_lambda", "alpha": "reg_alpha"}
RESERVED = frozenset(
    [
        "objective",
        "num_class",
        "device",
        "eval_metric",
        "max_bin",
        "nthread",
        "n_jobs",
        "seed",
        "random_state",
        "n_estimators",
        "num_boost_round",
        "early_stopping_rounds",
    ]
)

# Where XGBoost's own metric is scikit-learn's (or one minus it). Its multi-class auc weighs classes by their frequency and its aucpr
# interpolates, so those two are computed by `hybrid.metrics` like all others.
NATIVE_METRICS = {
    "binary": {"log_loss": "logloss", "roc_auc": "auc", "accuracy": "error"},
    "multi": {"log_loss": "mlogloss", "accuracy": "merror"},
}


class XGBoostBooster(Booster):
    """Trees of XGBoost, grown by histograms; saved as UBJSON."""

    name: ClassVar[str] = "xgboost"
    file_name: ClassVar[str] = "model.ubj"
    continues: ClassVar[bool] = True

    _native: xgb.Booster

    def __init__(self, native: xgb.Booster, **trained: Any) -> None:
        super().__init__(native, **trained)
        self._placed: dict[tuple[str, int], xgb.Booster] = {}
        # Travels in the model file. XGBoost itself sends such codes one way when they are binned and another way when they are not.
        self._absent_codes = {int(j): codes for j, codes in json.loads(native.attr("absent_codes") or "{}").items()}

    @classmethod
    def resolve_device(cls, device: str) -> str:
        resolved = resolve_device(device)
        if resolved == "cpu" or xgb.build_info()["USE_CUDA"]:
            return resolved
        if device == "auto":
            return "cpu"
        raise DeviceError(
            f"device={device!r}, but XGBoost {xgb.__version__} is built without CUDA: "
            "pip uninstall xgboost-cpu, then pip install 'intentree[cuda]'; or use device='cpu'"
        )

    @classmethod
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
        check_labels(matrix, y, weight)
        check_values(matrix)
        if reference is None:
            device = cls.resolve_device(device)
        else:
            check_columns(reference.columns, matrix)
            device, max_bin = reference.device, reference.max_bin
        absent = absent_codes(matrix) if reference is None else reference.absent_codes
        native = xgb.QuantileDMatrix(
            _values_on(with_codes_missing(matrix, absent), device),
            label=y,
            weight=weight,
            feature_types=_feature_types(matrix.columns),
            enable_categorical=True,
            max_bin=max_bin,
            ref=None if reference is None else reference.native,
            nthread=n_jobs,
        )
        if matrix.margin is not None:
            native.set_base_margin(matrix.margin.values)
        weights = [column.weight for column in matrix.columns]
        if set(weights) != {1.0}:
            native.set_info(feature_weights=np.array(weights, dtype=np.float32))
        return BinnedData(native, matrix.columns, y, weight, max_bin, device, absent)

    @classmethod
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
        after: Self | None = None,
    ) -> Self:
        watched = find_metric(metric, n_classes)
        check_watch(valid, watched, n_classes, early_stopping_rounds, on_round)
        native_metric = NATIVE_METRICS["binary" if n_classes == 2 else "multi"].get(metric)
        settings = _settings(parameters) | {
            "objective": "binary:logistic" if n_classes == 2 else "multi:softprob",
            "max_bin": data.max_bin,
            "device": data.device,
            "seed": random_state,
            "nthread": n_jobs or 0,
        }
        if n_classes > 2:
            settings["num_class"] = n_classes
        settings |= {"disable_default_eval_metric": 1} if native_metric is None else {"eval_metric": native_metric}

        def evaluate(predicted: np.ndarray, _: xgb.DMatrix) -> tuple[str, float]:
            assert valid is not None
            proba = np.column_stack([1 - predicted, predicted]) if n_classes == 2 else predicted
            return metric, watched(valid.y, proba, valid.weight)

        watch = RoundWatch(watched, early_stopping_rounds, on_round)
        native = xgb.train(
            settings,
            data.native,
            num_boost_round=parameters.n_estimators,
            evals=[] if valid is None else [(valid.native, "valid")],
            custom_metric=evaluate if valid is not None and native_metric is None else None,
            callbacks=[] if valid is None else [_Watching(watch, is_error=metric == "accuracy")],
            verbose_eval=False,
            xgb_model=None if after is None else after._native,
        )
        _check_device(native, data.device)
        before = 0 if after is None else after.best_iteration
        best = before + watch.best_iteration(native.num_boosted_rounds() - before)
        if best < native.num_boosted_rounds():
            native = native[:best]
        if data.absent_codes:
            native.set_attr(absent_codes=json.dumps(data.absent_codes))
        return cls(
            native, columns=data.columns, n_classes=n_classes, device=data.device, best_iteration=best, n_jobs=n_jobs
        )

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
        data = self._unbinned(matrix, y, n_jobs)
        held = None if valid is None else self._unbinned(*valid, n_jobs)
        options: dict[str, Any] = {"random_state": random_state, "n_jobs": n_jobs, "on_round": on_round, "after": self}
        return type(self).train(data, n_classes=self.n_classes, parameters=parameters, valid=held, **options)

    def _unbinned(self, matrix: FeatureMatrix, y: np.ndarray, n_jobs: int | None) -> BinnedData:
        """A matrix with its values: from bins of other rows, trees would read values that are only near the true ones (XGBoost 3.2)."""
        check_columns(self.columns, matrix)
        check_labels(matrix, y, None)
        check_values(matrix)
        native = xgb.DMatrix(
            with_codes_missing(matrix, self._absent_codes).numpy(),
            label=y,
            base_margin=None if matrix.margin is None else matrix.margin.values,
            feature_types=_feature_types(self.columns),
            enable_categorical=True,
            nthread=n_jobs,
        )
        return BinnedData(native, self.columns, y, None, 256, self.device, self._absent_codes)

    def margin(self, matrix: FeatureMatrix) -> np.ndarray:
        return self._predict(matrix, "margin")

    def _probabilities(self, matrix: FeatureMatrix) -> np.ndarray:
        proba = self._predict(matrix, "value")
        return np.concatenate([1 - proba, proba], axis=1) if self.n_classes == 2 else proba

    def contributions(self, matrix: FeatureMatrix) -> np.ndarray:
        check_columns(self.columns, matrix)
        if len(matrix) == 0:  # which DMatrix takes for a matrix without columns
            return np.empty((0, self.n_margins, len(self.columns) + 1), dtype=np.float32)
        check_values(matrix)  # unlike inplace_predict, DMatrix refuses infinities, and does not say where
        values = _as_they_lie(with_codes_missing(matrix, self._absent_codes))
        data = xgb.DMatrix(
            values, feature_types=_feature_types(self.columns), enable_categorical=True, nthread=self._n_jobs or None
        )
        if matrix.margin is not None:  # the bias of each row then begins at its margin instead of at the base score
            data.set_base_margin(np.broadcast_to(matrix.margin.mean, matrix.margin.values.shape).copy())
        return self._native_for(values).predict(data, pred_contribs=True, strict_shape=True)

    def gain(self) -> np.ndarray:
        gains = self._native.get_score(importance_type="total_gain")
        return np.array([gains.get(f"f{j}", 0.0) for j in range(len(self.columns))], dtype=np.float64)

    def save(self, folder: Path) -> None:
        self._native.save_model(folder / self.file_name)

    @classmethod
    def load(
        cls, folder: Path, *, columns: tuple[Column, ...], n_classes: int, device: str, best_iteration: int
    ) -> Self:
        native = xgb.Booster(model_file=folder / cls.file_name)
        return cls(native, columns=columns, n_classes=n_classes, device=device, best_iteration=best_iteration)

    def _predict(self, matrix: FeatureMatrix, kind: str) -> np.ndarray:
        check_columns(self.columns, matrix)
        values = _as_they_lie(with_codes_missing(matrix, self._absent_codes))
        margin = None if matrix.margin is None else matrix.margin.values
        predicted = self._native_for(values).inplace_predict(
            values, predict_type=kind, base_margin=margin, strict_shape=True
        )
        if not isinstance(predicted, np.ndarray):
            predicted = predicted.get()  # CUDA values come back as a CuPy array
        return predicted.reshape(len(matrix), self.n_margins)  # which XGBoost 3 forgets where there are no rows

    def _native_for(self, values: np.ndarray | torch.Tensor) -> xgb.Booster:
        """The trees set up for where these values lie; a copy for each place, since another thread may be predicting with the first."""
        if isinstance(values, torch.Tensor):
            place = (f"cuda:{values.device.index}", self._n_jobs)
        else:
            place = ("cpu", 1 if len(values) <= FEW_ROWS else self._n_jobs)
        if place not in self._placed:
            native = self._native.copy()
            native.set_param({"device": place[0], "nthread": place[1]})
            self._placed[place] = native
        return self._placed[place]


class _Watching(xgb.callback.TrainingCallback):
    """Hands each round's validation metric to the watch."""

    def __init__(self, watch: RoundWatch, *, is_error: bool) -> None:
        self._watch = watch
        self._is_error = is_error

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        (history,) = evals_log["valid"].values()
        return self._watch.see(epoch, 1 - history[-1] if self._is_error else history[-1])


def _settings(parameters: TreeParameters) -> dict[str, Any]:
    own = {
        "learning_rate": parameters.learning_rate,
        "max_depth": parameters.max_depth,
        "min_child_weight": parameters.min_child_weight,
        "subsample": parameters.subsample,
        "colsample_bytree": parameters.colsample,
        "reg_lambda": parameters.reg_lambda,
        "reg_alpha": parameters.reg_alpha,
    }
    return parameters.merged(own, aliases=ALIASES, reserved=RESERVED)


def _feature_types(columns: tuple[Column, ...]) -> list[str]:
    # Names stay with us: XGBoost refuses brackets and "<" in them.
    return ["c" if column.categories > 0 else "q" for column in columns]


def _values_on(matrix: FeatureMatrix, device: str) -> np.ndarray | torch.Tensor:
    """The values where XGBoost should bin them: for a CUDA device on that device, where it can be reached."""
    if device == "cpu" or not _takes_tensors():
        return matrix.numpy()
    return torch.as_tensor(matrix.values, device=device)


def _as_they_lie(matrix: FeatureMatrix) -> np.ndarray | torch.Tensor:
    """The values where they lie, as XGBoost can read them."""
    on_cuda = isinstance(matrix.values, torch.Tensor) and matrix.values.is_cuda
    return matrix.values if on_cuda and _takes_tensors() else matrix.numpy()


@functools.cache
def _takes_tensors() -> bool:
    """Whether XGBoost can read CUDA arrays: up to 3.4 it imports CuPy to do so, even for tensors of torch."""
    if not xgb.build_info()["USE_CUDA"]:
        return False
    if importlib.util.find_spec("cupy") is None:
        logger.warning(
            "CuPy is not installed: CUDA tensors reach XGBoost through host memory; pip install 'intentree[cuda]'"
        )
        return False
    return True


def _check_device(native: xgb.Booster, device: str) -> None:
    """XGBoost 3.x trains on the CPU with no more than a warning where it finds no GPU."""
    used = json.loads(native.save_config())["learner"]["generic_param"]["device"]
    if used.split(":")[0] != device.split(":")[0]:
        raise DeviceError(
            f"XGBoost was asked to train on {device!r} but trained on {used!r}: check `nvidia-smi` and the driver"
        )
