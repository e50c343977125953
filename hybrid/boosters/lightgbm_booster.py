"""LightGBM: leaf-wise trees, often the faster booster on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import lightgbm as lgb
import numpy as np
from scipy.special import softmax

from hybrid.boosters.base import BinnedData, Booster, OnRound, TreeParameters
from hybrid.boosters.checks import check_columns, check_labels, check_values
from hybrid.boosters.lightgbm_learners import LEARNERS, resolve_learner
from hybrid.boosters.rounds import RoundWatch, check_watch
from hybrid.errors import ParameterError
from hybrid.matrix import Column, FeatureMatrix
from hybrid.metrics import Metric
from hybrid.metrics import metric as find_metric

FEW_ROWS = 64
"""Rows below which waking a second thread costs more than it saves."""

MAX_LEAVES = 255

MOST_OPENCL_BINS = 256

ALIASES = {
    alias: name
    for name, aliases in {
        "learning_rate": ("shrinkage_rate", "eta"),
        "num_leaves": ("num_leaf", "max_leaves", "max_leaf", "max_leaf_nodes"),
        "min_sum_hessian_in_leaf": ("min_sum_hessian_per_leaf", "min_sum_hessian", "min_hessian", "min_child_weight"),
        "bagging_fraction": ("sub_row", "subsample", "bagging"),
        "bagging_freq": ("subsample_freq",),
        "feature_fraction": ("sub_feature", "colsample_bytree"),
        "lambda_l2": ("reg_lambda", "lambda", "l2_regularization"),
        "lambda_l1": ("reg_alpha", "l1_regularization"),
        "force_col_wise": ("force_row_wise",),  # one or the other
    }.items()
    for alias in aliases
}
RESERVED = frozenset(
    [
        "objective",
        "num_class",
        "device",
        "device_type",
        "metric",
        "metrics",
        "max_bin",
        "max_bins",
        "num_threads",
        "n_jobs",
        "feature_pre_filter",
        "seed",
        "random_state",
        "num_iterations",
        "n_estimators",
        "num_boost_round",
        "early_stopping_round",
        "early_stopping_rounds",
    ]
)

# Where LightGBM's own metric is scikit-learn's (or one minus it); all others are computed by `hybrid.metrics`.
NATIVE_METRICS = {
    "binary": {
        "log_loss": "binary_logloss",
        "roc_auc": "auc",
        "average_precision": "average_precision",
        "accuracy": "binary_error",
    },
    "multi": {"log_loss": "multi_logloss", "accuracy": "multi_error"},
}


class LightGBMBooster(Booster):
    """Trees of LightGBM; saved in its text format, whose numbers are written with 17 digits and so read back to the bit."""

    name: ClassVar[str] = "lightgbm"
    file_name: ClassVar[str] = "model.txt"

    _native: lgb.Booster

    @classmethod
    def resolve_device(cls, device: str) -> str:
        return resolve_learner(device)

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
        if any(column.weight != 1 for column in matrix.columns):
            raise ParameterError(
                "LightGBM cannot weight columns when it samples them: leave feature_weights out, or use XGBoost"
            )
        if reference is None:
            device = cls.resolve_device(device)
        else:
            check_columns(reference.columns, matrix)
            device, max_bin = reference.device, reference.max_bin
        native = lgb.Dataset(
            matrix.numpy(),
            label=y,
            weight=weight,
            init_score=None if matrix.margin is None else matrix.margin.values.squeeze(),
            categorical_feature=[j for j, column in enumerate(matrix.columns) if column.categories > 0],
            params=_binning(max_bin, device) | {"num_threads": n_jobs or 0},
            reference=None if reference is None else reference.native,
            free_raw_data=False,
        )
        return BinnedData(native.construct(), matrix.columns, y, weight, max_bin, device)

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
    ) -> Self:
        watched = find_metric(metric, n_classes)
        check_watch(valid, watched, n_classes, early_stopping_rounds, on_round)
        native_metric = NATIVE_METRICS["binary" if n_classes == 2 else "multi"].get(metric)
        settings = (
            _binning(data.max_bin, data.device)
            | _settings(parameters)
            | {
                "objective": "binary" if n_classes == 2 else "multiclass",
                "num_class": 1 if n_classes == 2 else n_classes,
                "metric": native_metric or "None",
                "seed": random_state,
                "num_threads": n_jobs or 0,
            }
        )
        watch = RoundWatch(watched, early_stopping_rounds, on_round)
        native = lgb.train(
            settings,
            data.native,
            num_boost_round=parameters.n_estimators,
            valid_sets=[] if valid is None else [valid.native],
            feval=_evaluation(watched, valid) if valid is not None and native_metric is None else None,
            callbacks=[] if valid is None else [_watching(watch, is_error=metric == "accuracy")],
        )
        best = watch.best_iteration(native.current_iteration())
        return cls(
            native, columns=data.columns, n_classes=n_classes, device=data.device, best_iteration=best, n_jobs=n_jobs
        )

    def margin(self, matrix: FeatureMatrix) -> np.ndarray:
        scores = self._predict(matrix, raw_score=True).reshape(len(matrix), self.n_margins)
        return scores if matrix.margin is None else scores + matrix.margin.values

    def _probabilities(self, matrix: FeatureMatrix) -> np.ndarray:
        if matrix.margin is not None:  # LightGBM 4.7 adds no initial score when it predicts
            margin = self.margin(matrix)
            return softmax(
                np.concatenate([np.zeros_like(margin), margin], axis=1) if self.n_classes == 2 else margin, axis=1
            )
        proba = self._predict(matrix).reshape(len(matrix), self.n_margins)
        return np.concatenate([1 - proba, proba], axis=1) if self.n_classes == 2 else proba

    def contributions(self, matrix: FeatureMatrix) -> np.ndarray:
        shap = self._predict(matrix, pred_contrib=True).reshape(len(matrix), self.n_margins, len(self.columns) + 1)
        if matrix.margin is not None:
            shap[:, :, -1] += matrix.margin.mean
        return shap

    def gain(self) -> np.ndarray:
        return self._native.feature_importance("gain", iteration=self.best_iteration).astype(np.float64)

    def save(self, folder: Path) -> None:
        self._native.save_model(folder / self.file_name, num_iteration=self.best_iteration)

    @classmethod
    def load(
        cls, folder: Path, *, columns: tuple[Column, ...], n_classes: int, device: str, best_iteration: int
    ) -> Self:
        native = lgb.Booster(model_file=folder / cls.file_name)
        return cls(native, columns=columns, n_classes=n_classes, device=device, best_iteration=best_iteration)

    def _predict(self, matrix: FeatureMatrix, **kind: bool) -> np.ndarray:
        check_columns(self.columns, matrix)
        if len(matrix) == 0:  # LightGBM 4.7 divides by the number of rows
            return np.empty(0, dtype=np.float32)
        threads = 1 if len(matrix) <= FEW_ROWS else self._n_jobs
        predicted = self._native.predict(matrix.numpy(), num_iteration=self.best_iteration, num_threads=threads, **kind)
        return np.asarray(predicted, dtype=np.float32)


def _binning(max_bin: int, device: str) -> dict[str, Any]:
    """What a dataset is binned with; a training that names other values would bin it again."""
    if device == "opencl" and max_bin > MOST_OPENCL_BINS:
        raise ParameterError(f"LightGBM's OpenCL learner takes max_bin up to {MOST_OPENCL_BINS}, not {max_bin}")
    # LightGBM 4.7 adds a bin of its own to each column: 256 of them would no longer fit a byte.
    return {"max_bin": max_bin - 1, "feature_pre_filter": False, "device_type": LEARNERS[device], "verbosity": -1}


def _settings(parameters: TreeParameters) -> dict[str, Any]:
    own = {
        "learning_rate": parameters.learning_rate,
        "max_depth": parameters.max_depth,
        "num_leaves": min(2**parameters.max_depth, MAX_LEAVES),
        "min_sum_hessian_in_leaf": parameters.min_child_weight,
        "bagging_fraction": parameters.subsample,
        "bagging_freq": 1 if parameters.subsample < 1 else 0,
        "feature_fraction": parameters.colsample,
        "lambda_l2": parameters.reg_lambda,
        "lambda_l1": parameters.reg_alpha,
        # The same trees for any number of threads. By columns is two to three times faster than by rows on few cores (LightGBM 4.7).
        "deterministic": True,
        "force_col_wise": True,
    }
    return parameters.merged(own, aliases=ALIASES, reserved=RESERVED)


def _evaluation(watched: Metric, valid: BinnedData) -> Any:
    """The metric as LightGBM calls it: on probabilities of the positive class, or of shape (n_rows, n_classes)."""

    def evaluate(predicted: np.ndarray, _: lgb.Dataset) -> tuple[str, float, bool]:
        proba = np.column_stack([1 - predicted, predicted]) if predicted.ndim == 1 else predicted
        return watched.name, watched(valid.y, proba, valid.weight), watched.greater_is_better

    return evaluate


def _watching(watch: RoundWatch, *, is_error: bool) -> Any:
    """A callback that hands each round's validation metric to the watch."""

    def callback(env: lgb.callback.CallbackEnv) -> None:
        results = env.evaluation_result_list
        assert results, "called after each round, with the validation metric"
        value = results[0][2]
        if watch.see(env.iteration, 1 - value if is_error else value):
            raise lgb.callback.EarlyStopException(env.iteration, results)

    return callback
