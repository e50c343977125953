"""Both boosters against the bare libraries and scikit-learn."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import torch

from hybrid.boosters import BOOSTERS, BinnedData, Booster, TreeParameters, booster_class, lightgbm_learners
from hybrid.errors import DeviceError, LabelError, MatrixError, ParameterError
from hybrid.matrix import Column, FeatureMatrix
from hybrid.metrics import METRICS, metric

xgb = pytest.importorskip("xgboost")

COLUMNS = (
    Column("price [EUR] <net>", "attributes"),
    Column("类目", "attributes", categories=6),
    Column("user__click__7d", "user behaviour"),
    Column("cosine", "text match"),
    Column("constant", "attributes"),
)
TYPES = ["q", "c", "q", "q", "q"]
PARAMETERS = TreeParameters(
    n_estimators=40, learning_rate=0.3, max_depth=4, subsample=0.8, colsample=0.8, min_child_weight=2.0, reg_alpha=0.1
)


@dataclasses.dataclass(frozen=True)
class Task:
    n_classes: int
    matrix: FeatureMatrix
    y: np.ndarray
    weight: np.ndarray
    valid: FeatureMatrix
    y_valid: np.ndarray
    weight_valid: np.ndarray


def make(n_classes: int, n: int = 900, seed: int = 0) -> tuple[FeatureMatrix, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, len(COLUMNS))).astype(np.float32)
    values[:, 1] = rng.integers(0, 6, n)
    values[:, 2] = rng.poisson(1.0, n)
    score = values[:, 0] + 1.5 * np.isin(values[:, 1], [1, 4]) + 0.5 * values[:, 2] + rng.normal(size=n)
    values[rng.random((n, len(COLUMNS))) < 0.08] = np.nan
    values[:, 4] = 1.0
    y = np.digitize(score, [2.0] if n_classes == 2 else [0.5, 2.0])
    return FeatureMatrix(values, COLUMNS), y, rng.uniform(0.5, 2.0, n).astype(np.float32)


@pytest.fixture(scope="module", params=[2, 3], ids=["binary", "three classes"])
def task(request: pytest.FixtureRequest) -> Task:
    return Task(request.param, *make(request.param), *make(request.param, n=400, seed=1))


@pytest.fixture(scope="module", params=list(BOOSTERS))
def booster(request: pytest.FixtureRequest) -> type[Booster]:
    return booster_class(request.param)


def binned(booster: type[Booster], task: Task) -> tuple[BinnedData, BinnedData]:
    data = booster.bin(task.matrix, task.y, weight=task.weight, max_bin=64, n_jobs=1)
    return data, booster.bin(task.valid, task.y_valid, weight=task.weight_valid, reference=data, n_jobs=1)


def train(
    booster: type[Booster], data: BinnedData, task: Task, parameters: TreeParameters = PARAMETERS, **options: Any
) -> Booster:
    """On one thread: several on small data and a busy machine wait for each other most of the time."""
    return booster.train(data, n_classes=task.n_classes, parameters=parameters, **{"n_jobs": 1, **options})


@pytest.fixture(scope="module")
def trained(booster: type[Booster], task: Task) -> Booster:
    """Stopped early, so that not every tree that was grown is used."""
    data, valid = binned(booster, task)
    model = train(booster, data, task, valid=valid, early_stopping_rounds=5, random_state=3)
    assert 1 <= model.best_iteration < PARAMETERS.n_estimators - 5
    return model


def bare_xgboost(task: Task, **settings: Any) -> "xgb.Booster":
    """xgb.train as its documentation shows it, stopped early by its own callback."""
    options = {"feature_types": TYPES, "enable_categorical": True, "max_bin": 64, "nthread": 1}
    data = xgb.QuantileDMatrix(task.matrix.values, label=task.y, weight=task.weight, **options)
    valid = xgb.QuantileDMatrix(task.valid.values, label=task.y_valid, weight=task.weight_valid, ref=data, **options)
    binary = task.n_classes == 2
    parameters = {
        "objective": "binary:logistic" if binary else "multi:softprob",
        "eval_metric": "logloss" if binary else "mlogloss",
        **({} if binary else {"num_class": task.n_classes}),
        **{
            "eta": 0.3,
            "max_depth": 4,
            "subsample": 0.8,
            "colsample_bytree": 0.8,
            "min_child_weight": 2.0,
            "alpha": 0.1,
            "max_bin": 64,
        },
        **{"seed": 3, "nthread": 1},
        **settings,
    }
    return xgb.train(parameters, data, 40, evals=[(valid, "valid")], early_stopping_rounds=5, verbose_eval=False)


def bare_lightgbm(task: Task, **settings: Any) -> lgb.Booster:
    """lgb.train as its documentation shows it, stopped early by its own callback."""
    data = lgb.Dataset(task.matrix.values, task.y, weight=task.weight, categorical_feature=[1])
    valid = lgb.Dataset(task.valid.values, task.y_valid, weight=task.weight_valid, reference=data)
    parameters = {
        "objective": "binary" if task.n_classes == 2 else "multiclass",
        "num_class": 1 if task.n_classes == 2 else task.n_classes,
        **{
            "learning_rate": 0.3,
            "max_depth": 4,
            "num_leaves": 16,
            "subsample": 0.8,
            "subsample_freq": 1,
            "colsample_bytree": 0.8,
        },
        **{"min_child_weight": 2.0, "reg_alpha": 0.1, "reg_lambda": 1.0, "max_bin": 63, "feature_pre_filter": False},
        **{"deterministic": True, "force_col_wise": True, "seed": 3, "verbosity": -1, "num_threads": 1},
        **settings,
    }
    return lgb.train(parameters, data, 40, valid_sets=[valid], callbacks=[lgb.early_stopping(5, verbose=False)])


def test_predictions_are_the_bare_librarys(trained: Booster, task: Task) -> None:
    if trained.name == "xgboost":
        bare = bare_xgboost(task)
        rounds, expected = (
            bare.best_iteration + 1,
            bare.inplace_predict(task.valid.values, iteration_range=(0, bare.best_iteration + 1)),
        )
        gain = [
            bare[: bare.best_iteration + 1].get_score(importance_type="total_gain").get(f"f{j}", 0.0)
            for j in range(len(COLUMNS))
        ]
    else:
        bare = bare_lightgbm(task)
        rounds, expected = bare.best_iteration, bare.predict(task.valid.values)
        gain = bare.feature_importance("gain", iteration=rounds)
    proba = trained.predict_proba(task.valid)
    assert trained.best_iteration == rounds
    assert proba.dtype == np.float32
    assert proba.shape == (len(task.valid), task.n_classes)
    np.testing.assert_allclose(proba[:, 1] if task.n_classes == 2 else proba, expected, rtol=0, atol=1e-7)
    np.testing.assert_allclose(trained.gain(), gain, rtol=1e-6)
    assert trained.gain()[4] == 0
    assert metric("roc_auc")(task.y_valid, proba) > 0.75


def test_margin_is_the_probability_before_the_link(trained: Booster, task: Task) -> None:
    margin = trained.margin(task.valid).astype(np.float64)
    assert margin.shape == (len(task.valid), 1 if task.n_classes == 2 else 3)
    if task.n_classes == 2:
        expected = np.column_stack([1 / (1 + np.exp(margin)), 1 / (1 + np.exp(-margin))])
    else:
        expected = np.exp(margin) / np.exp(margin).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(trained.predict_proba(task.valid), expected, atol=1e-6)


def test_contributions_sum_to_the_margin(trained: Booster, task: Task) -> None:
    contributions = trained.contributions(task.valid)
    margin = trained.margin(task.valid)
    assert contributions.dtype == np.float32
    assert contributions.shape == (*margin.shape, len(COLUMNS) + 1)
    np.testing.assert_allclose(contributions.sum(axis=2), margin, atol=1e-4)
    assert np.ptp(contributions[:, :, -1], axis=0).max() < 1e-6, "the bias is one number a margin"
    assert np.abs(contributions[:, :, 4]).max() == 0, "a constant column explains nothing"


def test_loaded_trees_predict_the_same_bits(trained: Booster, task: Task, tmp_path: Path) -> None:
    trained.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [trained.file_name]
    loaded = type(trained).load(
        tmp_path,
        columns=trained.columns,
        n_classes=task.n_classes,
        device=trained.device,
        best_iteration=trained.best_iteration,
    )
    np.testing.assert_array_equal(loaded.predict_proba(task.valid), trained.predict_proba(task.valid))
    np.testing.assert_array_equal(loaded.margin(task.valid), trained.margin(task.valid))
    np.testing.assert_array_equal(loaded.contributions(task.valid), trained.contributions(task.valid))
    np.testing.assert_allclose(loaded.gain(), trained.gain(), rtol=1e-6)
    again = tmp_path / "again"
    again.mkdir()
    loaded.save(again)
    assert loaded.best_iteration == trained.best_iteration
    assert (again / trained.file_name).read_bytes() == (tmp_path / trained.file_name).read_bytes()


def test_one_row_scores_as_in_a_batch(trained: Booster, task: Task) -> None:
    batch = trained.predict_proba(task.valid)
    for row in (0, 17):
        np.testing.assert_array_equal(trained.predict_proba(task.valid.rows(np.array([row]))), batch[[row]])


def test_no_rows_give_no_scores(trained: Booster, task: Task) -> None:
    nothing = task.valid.rows(np.arange(0))
    n_margins = 1 if task.n_classes == 2 else 3
    assert trained.predict_proba(nothing).shape == (0, task.n_classes)
    assert trained.margin(nothing).shape == (0, n_margins)
    assert trained.contributions(nothing).shape == (0, n_margins, len(COLUMNS) + 1)


def test_same_seed_same_trees_on_any_number_of_threads(booster: type[Booster]) -> None:
    matrix, y, _ = make(2)
    data = booster.bin(matrix, y, n_jobs=1)

    def margin(seed: int, n_jobs: int) -> np.ndarray:
        two = dataclasses.replace(PARAMETERS, n_estimators=2)
        return booster.train(data, n_classes=2, parameters=two, random_state=seed, n_jobs=n_jobs).margin(matrix)

    one_thread = margin(0, 1)
    np.testing.assert_array_equal(one_thread, margin(0, 1))
    np.testing.assert_array_equal(one_thread, margin(0, 2))
    assert (one_thread != margin(1, 1)).any()


def test_one_binning_serves_trainings_of_all_parameters(booster: type[Booster], task: Task) -> None:
    data, valid = binned(booster, task)
    for parameters in (
        dataclasses.replace(PARAMETERS, n_estimators=5, max_depth=7, min_child_weight=0.0, reg_lambda=0.0),
        dataclasses.replace(PARAMETERS, n_estimators=5, max_depth=2, extra={"eta": 1.0}),
    ):
        shared = train(booster, data, task, parameters, valid=valid, random_state=5)
        fresh_data, fresh_valid = binned(booster, task)
        fresh = train(booster, fresh_data, task, parameters, valid=fresh_valid, random_state=5)
        np.testing.assert_array_equal(shared.margin(task.valid), fresh.margin(task.valid))


def test_extra_parameters_win_under_the_librarys_names(booster: type[Booster], task: Task) -> None:
    data, valid = binned(booster, task)
    parameters = dataclasses.replace(PARAMETERS, extra={"eta": 0.7, "reg_lambda": 20.0})
    model = train(booster, data, task, parameters, valid=valid, early_stopping_rounds=5, random_state=3)
    if booster.name == "xgboost":
        bare = bare_xgboost(task, eta=0.7, reg_lambda=20.0)
        expected = bare.inplace_predict(task.valid.values, iteration_range=(0, bare.best_iteration + 1))
    else:
        expected = bare_lightgbm(task, learning_rate=0.7, reg_lambda=20.0).predict(task.valid.values)
    proba = model.predict_proba(task.valid)
    np.testing.assert_allclose(proba[:, 1] if task.n_classes == 2 else proba, expected, atol=1e-7)


@pytest.mark.parametrize("name", METRICS)
def test_each_round_reports_scikit_learns_metric(booster: type[Booster], task: Task, name: str) -> None:
    if METRICS[name].binary_only and task.n_classes > 2:
        with pytest.raises(ParameterError, match="two classes"):
            train(booster, binned(booster, task)[0], task, metric=name)
        return
    data, valid = binned(booster, task)
    seen: list[tuple[int, float]] = []
    three = dataclasses.replace(PARAMETERS, n_estimators=3)
    train(booster, data, task, three, valid=valid, metric=name, on_round=lambda *round_: seen.append(round_))
    expected = []
    for n_rounds in (1, 2, 3):
        model = train(booster, data, task, dataclasses.replace(PARAMETERS, n_estimators=n_rounds))
        expected.append(metric(name)(task.y_valid, model.predict_proba(task.valid), task.weight_valid))
    assert [round_ for round_, _ in seen] == [0, 1, 2]
    np.testing.assert_allclose([value for _, value in seen], expected, atol=2e-6)


@pytest.mark.parametrize("name", ["accuracy", "f1_macro"])
def test_early_stopping_keeps_the_best_round_of_a_metric_to_maximise(
    booster: type[Booster], task: Task, name: str
) -> None:
    data, valid = binned(booster, task)
    values: list[float] = []
    options = {"valid": valid, "metric": name}
    model = train(
        booster, data, task, early_stopping_rounds=4, on_round=lambda _, value: values.append(value), **options
    )
    assert model.best_iteration == int(np.argmax(values)) + 1
    assert len(values) in (model.best_iteration + 4, PARAMETERS.n_estimators)
    everything = train(booster, data, task, **options)
    assert everything.best_iteration == PARAMETERS.n_estimators


def test_what_on_round_raises_ends_the_training(booster: type[Booster], task: Task) -> None:
    class PrunedError(Exception):
        pass

    def stop(round_: int, value: float) -> None:
        if round_ == 2:
            raise PrunedError(value)

    data, valid = binned(booster, task)
    with pytest.raises(PrunedError):
        train(booster, data, task, valid=valid, on_round=stop)


def test_codes_that_training_never_saw_count_as_missing(booster: type[Booster], tmp_path: Path) -> None:
    matrix, y, _ = make(2)
    unseen = np.isin(matrix.values[:, 1], [1, 5])
    data = booster.bin(matrix.rows(~unseen), y[~unseen], n_jobs=1)
    valid = booster.bin(matrix.rows(unseen), y[unseen], reference=data, n_jobs=1)
    values: list[float] = []
    watch = {"valid": valid, "on_round": lambda _, value: values.append(value)}
    model = booster.train(data, n_classes=2, parameters=PARAMETERS, n_jobs=1, **watch)
    missing = matrix.rows(unseen)
    missing.values[:, 1] = np.nan
    expected = model.margin(missing)
    model.save(tmp_path)
    loaded = booster.load(tmp_path, columns=COLUMNS, n_classes=2, device="cpu", best_iteration=model.best_iteration)
    for trees in (model, loaded):
        np.testing.assert_array_equal(trees.margin(matrix.rows(unseen)), expected)
        np.testing.assert_array_equal(trees.contributions(matrix.rows(unseen)), trees.contributions(missing))
    assert metric("log_loss")(y[unseen], model.predict_proba(missing)) == pytest.approx(values[-1], abs=1e-5)
    assert (matrix.values[unseen, 1] > 0).all(), "the caller's matrix stays as it was"


def test_tensors_are_taken_like_arrays(booster: type[Booster]) -> None:
    matrix, y, _ = make(2)
    lacking = matrix.rows(np.flatnonzero(matrix.values[:, 1] != 3))
    tensor = FeatureMatrix(torch.as_tensor(matrix.values), COLUMNS)
    data = booster.bin(FeatureMatrix(torch.as_tensor(lacking.values), COLUMNS), y[matrix.values[:, 1] != 3], n_jobs=1)
    model = booster.train(data, n_classes=2, parameters=PARAMETERS, n_jobs=1)
    np.testing.assert_array_equal(model.margin(tensor), model.margin(matrix))
    np.testing.assert_array_equal(model.contributions(tensor), model.contributions(matrix))


def test_training_prints_nothing(booster: type[Booster], task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    data, valid = binned(booster, task)
    tiny = TreeParameters(
        n_estimators=3, min_child_weight=1e6
    )  # no split is possible, which LightGBM would say each round
    train(booster, data, task, tiny, valid=valid, early_stopping_rounds=2)
    assert capfd.readouterr() == ("", "")


def with_column(position: int, **changes: object) -> Callable[[FeatureMatrix], FeatureMatrix]:
    def change(matrix: FeatureMatrix) -> FeatureMatrix:
        columns = list(matrix.columns)
        columns[position] = dataclasses.replace(columns[position], **changes)
        return FeatureMatrix(matrix.values, tuple(columns))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_column(3, name="distance"), "column 3 is 'distance', the trees were trained with 'cosine'"),
        (with_column(1, categories=9), "'类目' has 9 categories, the trees were trained with 6"),
        (
            lambda m: FeatureMatrix(m.values[:, :4], m.columns[:4]),
            "'constant', which the trees were trained with, is missing",
        ),
        (
            lambda m: FeatureMatrix.join([m, FeatureMatrix(m.values[:, :1], (Column("new", "session"),))]),
            "'new' is unknown",
        ),
    ],
)
def test_a_matrix_of_other_columns_is_refused(
    trained: Booster, task: Task, change: Callable[[FeatureMatrix], FeatureMatrix], message: str
) -> None:
    other = change(task.valid)
    for use in (trained.predict_proba, trained.margin, trained.contributions):
        with pytest.raises(MatrixError, match=message):
            use(other)


def test_regrouped_columns_are_accepted(trained: Booster, task: Task) -> None:
    regrouped = with_column(0, group="session")(task.valid)
    np.testing.assert_array_equal(trained.margin(regrouped), trained.margin(task.valid))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (3, np.inf, "'cosine' holds infinite values"),
        (0, -np.inf, "holds infinite values"),
        (1, 6, "'类目' holds 6, which is no code of its 6 categories"),
        (1, -1, "holds -1"),
        (1, 2.5, "holds 2.5"),
    ],
)
def test_values_no_booster_can_bin_name_their_column(
    booster: type[Booster], column: int, value: float, message: str
) -> None:
    matrix, y, _ = make(2)
    matrix.values[77, column] = value
    with pytest.raises(MatrixError, match=message):
        booster.bin(matrix, y)


def test_bad_arguments_are_named(booster: type[Booster], task: Task) -> None:
    data, valid = binned(booster, task)
    with pytest.raises(LabelError, match="899 labels for a matrix of 900 rows"):
        booster.bin(task.matrix, task.y[1:])
    with pytest.raises(LabelError, match="1 weights"):
        booster.bin(task.matrix, task.y, weight=task.weight[:1])
    with pytest.raises(ParameterError, match="pass valid"):
        train(booster, data, task, early_stopping_rounds=5)
    with pytest.raises(ParameterError, match="at least 1, not 0"):
        train(booster, data, task, valid=valid, early_stopping_rounds=0)
    with pytest.raises(ParameterError, match="did you mean 'log_loss'"):
        train(booster, data, task, valid=valid, metric="logloss")
    for name in ("objective", "max_bin", "seed", "n_estimators"):
        with pytest.raises(ParameterError, match=f"must not set {name}"):
            train(booster, data, task, dataclasses.replace(PARAMETERS, extra={name: 1}))


def test_a_validation_set_without_a_class_cannot_watch_its_ranking(booster: type[Booster], task: Task) -> None:
    data, _ = binned(booster, task)
    rows = np.flatnonzero(task.y_valid != 1)
    valid = booster.bin(task.valid.rows(rows), task.y_valid[rows], reference=data)
    with pytest.raises(LabelError, match=r"roc_auc cannot be computed on the .* validation rows: they lack a class"):
        train(booster, data, task, valid=valid, metric="roc_auc")


@pytest.mark.parametrize(
    "changes",
    [
        {"n_estimators": 0},
        {"max_depth": 2.5},
        {"subsample": 0.0},
        {"colsample": 1.5},
        {"learning_rate": -1},
        {"reg_lambda": -1},
    ],
)
def test_parameters_out_of_range_are_named(changes: dict[str, float]) -> None:
    ((name, value),) = changes.items()
    with pytest.raises(ParameterError, match=f"{name} must .* not {value}"):
        TreeParameters(**changes)


def test_unknown_booster() -> None:
    with pytest.raises(ParameterError, match="did you mean 'xgboost'"):
        booster_class("xgbost")


def test_without_xgboost_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    monkeypatch.delitem(sys.modules, "hybrid.boosters.xgboost_booster", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'intentree\[cpu\]', or 'intentree\[cuda\]'"):
        booster_class("xgboost")
    assert booster_class("lightgbm").name == "lightgbm"


no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@no_cuda
def test_auto_is_the_cpu_without_a_gpu(booster: type[Booster]) -> None:
    assert booster.resolve_device("auto") == "cpu"


@no_cuda
def test_cuda_without_a_gpu_is_refused_before_training(task: Task) -> None:
    with pytest.raises(DeviceError, match="device='cuda'"):
        booster_class("xgboost").bin(task.matrix, task.y, device="cuda")


@no_cuda
@pytest.mark.filterwarnings("ignore::UserWarning")  # XGBoost's own warning that it falls back
def test_xgboost_that_falls_back_silently_is_caught(task: Task) -> None:
    data = booster_class("xgboost").bin(task.matrix, task.y)
    as_if = dataclasses.replace(data, device="cuda")
    with pytest.raises(DeviceError, match="asked to train on 'cuda' but trained on 'cpu'"):
        train(booster_class("xgboost"), as_if, task)


def test_lightgbm_without_a_gpu_learner_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCL_ICD_VENDORS", "/nonexistent")  # hides the OpenCL drivers that this machine may have
    lightgbm_learners.failure.cache_clear()
    try:
        if lightgbm_learners.failure("cuda") is None:
            pytest.skip("this LightGBM has a CUDA learner and a GPU")
        with pytest.raises(
            DeviceError, match=r"(?s)pocl-opencl-icd.*CUDA learner: .*not enabled.*OpenCL learner: No OpenCL device"
        ):
            booster_class("lightgbm").resolve_device("cuda")
        with pytest.raises(DeviceError, match="device='opencl'"):
            booster_class("lightgbm").resolve_device("opencl")
    finally:
        lightgbm_learners.failure.cache_clear()


def test_lightgbm_on_its_gpu_learner(tmp_path: Path) -> None:
    """Its OpenCL learner also runs on a CPU, with PoCL; where a driver is new, compiling its kernels takes most of this test's time."""
    lightgbm = booster_class("lightgbm")
    try:
        device = lightgbm.resolve_device("cuda")
    except DeviceError as error:
        pytest.skip(f"no GPU learner of LightGBM runs here: {str(error).splitlines()[-1]}")
    assert lightgbm.resolve_device(device) == device
    matrix, y, weight = make(2)

    def trained_on(device: str) -> Booster:
        data = lightgbm.bin(matrix, y, weight=weight, device=device, n_jobs=1)
        valid = lightgbm.bin(matrix, y, reference=data, n_jobs=1)
        four = dataclasses.replace(PARAMETERS, n_estimators=4)
        return lightgbm.train(data, n_classes=2, parameters=four, valid=valid, n_jobs=1)

    model, on_cpu = trained_on("cuda"), trained_on("cpu")
    assert (model.device, on_cpu.device) == (device, "cpu")
    np.testing.assert_allclose(model.predict_proba(matrix), on_cpu.predict_proba(matrix), atol=1e-5)
    model.save(tmp_path)
    loaded = lightgbm.load(tmp_path, columns=COLUMNS, n_classes=2, device=device, best_iteration=model.best_iteration)
    np.testing.assert_array_equal(loaded.predict_proba(matrix), model.predict_proba(matrix))
    if device == "opencl":
        with pytest.raises(ParameterError, match="max_bin up to 256, not 512"):
            lightgbm.bin(matrix, y, max_bin=512, device="cuda")


@pytest.mark.gpu
@needs_cuda
def test_xgboost_trains_and_scores_where_the_tensor_lies(task: Task, tmp_path: Path) -> None:
    xgboost = booster_class("xgboost")
    device = xgboost.resolve_device("auto")
    if device == "cpu":
        pytest.skip("this XGBoost is built without CUDA")
    on_gpu, valid_on_gpu = (
        FeatureMatrix(torch.as_tensor(m.values, device=device), COLUMNS) for m in (task.matrix, task.valid)
    )
    data = xgboost.bin(on_gpu, task.y, weight=task.weight, device=device)
    valid = xgboost.bin(valid_on_gpu, task.y_valid, reference=data)
    model = train(xgboost, data, task, valid=valid, early_stopping_rounds=5)
    assert model.device.startswith("cuda")
    proba = model.predict_proba(valid_on_gpu)
    assert metric("roc_auc")(task.y_valid, proba) > 0.75
    np.testing.assert_allclose(model.predict_proba(task.valid), proba, atol=1e-5)
    np.testing.assert_allclose(model.contributions(valid_on_gpu).sum(axis=2), model.margin(valid_on_gpu), atol=1e-3)
    model.save(tmp_path)
    loaded = xgboost.load(
        tmp_path, columns=COLUMNS, n_classes=task.n_classes, device=model.device, best_iteration=model.best_iteration
    )
    np.testing.assert_array_equal(loaded.predict_proba(valid_on_gpu), proba)


@pytest.mark.gpu
@needs_cuda
def test_xgboost_takes_host_values_for_a_gpu(task: Task) -> None:
    xgboost = booster_class("xgboost")
    device = xgboost.resolve_device("auto")
    if device == "cpu":
        pytest.skip("this XGBoost is built without CUDA")
    data = xgboost.bin(task.matrix, task.y, device=device)
    model = train(xgboost, data, task)
    assert metric("roc_auc")(task.y_valid, model.predict_proba(task.valid)) > 0.75
