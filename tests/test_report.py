"""The importance report against recomputation by hand, planted truth, and hostile names."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as skm
import xgboost as xgb
from scipy.stats import binomtest

from hybrid.boosters import Booster, TreeParameters, booster_class
from hybrid.calibration import calibration_table
from hybrid.errors import LabelError, ParameterError
from hybrid.holdout import assign_folds
from hybrid.matrix import Column, FeatureMatrix
from hybrid.reports import ImportanceReport, importance_report
from hybrid.reports.importance import sample_rows

HOSTILE = "<script>alert('x')</script>"
PARAMETERS = TreeParameters(n_estimators=40, learning_rate=0.15, max_depth=3)
COLUMNS = (
    Column("user__purchase__7d", "user behaviour", family="count"),
    Column("user__purchase__30d", "user behaviour", family="count"),
    *(Column(f"item__text_{i}", "item text") for i in range(8)),
    Column("item__purchase__7d", "item behaviour", family="count"),
    Column(HOSTILE, "session"),
    Column("session__click__1h", "session", family="trend"),
)


def planted(n: int, seed: int) -> tuple[FeatureMatrix, np.ndarray]:
    """User behaviour is strong, item text weak, item behaviour a blurred copy of a strong column, session noise."""
    rng = np.random.default_rng(seed)
    strong, text, noise = rng.normal(size=(n, 2)), rng.normal(size=(n, 8)), rng.normal(size=(n, 2))
    copy = strong[:, :1] + rng.normal(size=(n, 1)) * 0.2
    margin = 1.6 * strong[:, 0] + 1.2 * strong[:, 1] + 0.7 * text[:, 3] - 1
    y = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    return FeatureMatrix(np.hstack([strong, text, copy, noise]).astype(np.float32), COLUMNS), y


def train(matrix: FeatureMatrix, y: np.ndarray, n_classes: int = 2, name: str = "xgboost", rounds: int = 40) -> Booster:
    cls = booster_class(name)
    parameters = TreeParameters(n_estimators=rounds, learning_rate=0.15, max_depth=3)
    return cls.train(cls.bin(matrix, y, n_jobs=1), n_classes=n_classes, parameters=parameters, n_jobs=1)


def build(matrix: FeatureMatrix, y: np.ndarray, booster: Booster, **options: object) -> ImportanceReport:
    settings: dict[str, object] = {
        "classes": ["stays", "buys"],
        "parameters": PARAMETERS,
        "random_state": 7,
        "n_jobs": 1,
        "title": "Will they buy?",
        "provenance": {"device": "cpu"},
        "n_repeats": 3,
        "ablation_folds": 2,
        **options,
    }
    return importance_report(
        y=y,
        proba=booster.predict_proba(matrix),
        matrix_of=matrix.rows,
        booster=booster,
        **settings,  # type: ignore[arg-type]
    )


class World:
    """Everything the tests look at, made once."""

    def __init__(self) -> None:
        self.booster = train(*planted(3000, seed=1))
        self.matrix, self.y = planted(2000, seed=2)
        self.users = np.random.default_rng(3).integers(0, 400, size=2000)
        self.ids = np.array([f"user-{u}-secret" for u in self.users])
        self.proba = self.booster.predict_proba(self.matrix)
        self.baseline = np.column_stack([1 - self.proba[:, 1] / 2, self.proba[:, 1] / 2])
        self.report = build(
            self.matrix, self.y, self.booster, groups=self.ids, baselines={"half as sure": self.baseline}, max_rows=5000
        )


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_shap_and_gain_are_those_of_the_bare_booster(world: World, tmp_path: Path) -> None:
    world.booster.save(tmp_path)
    bare = xgb.Booster(model_file=tmp_path / world.booster.file_name)
    drawn = sample_rows(2000, None, world.report.basis.shap_rows, 7)
    contributions = bare.predict(xgb.DMatrix(world.matrix.numpy()[drawn]), pred_contribs=True)
    for row in world.report.groups.iter_rows(named=True):
        inside = [i for i, column in enumerate(COLUMNS) if column.group == row["group"]]
        assert row["shap"] == pytest.approx(np.abs(contributions[:, inside].sum(axis=1)).mean(), rel=1e-4)
    assert world.report.groups["shap_share"].sum() == pytest.approx(1)
    gains = bare.get_score(importance_type="total_gain")
    shown = {row["column"]: row for row in world.report.columns.iter_rows(named=True)}
    assert list(shown) == world.report.columns.sort("shap", descending=True)["column"].to_list()
    assert len(shown) == len(COLUMNS)
    for i, column in enumerate(COLUMNS):
        assert shown[column.name]["shap"] == pytest.approx(np.abs(contributions[:, i]).mean(), rel=1e-4, abs=1e-7)
        assert shown[column.name]["gain"] == pytest.approx(gains.get(f"f{i}", 0.0), rel=1e-5)
        assert shown[column.name]["group"] == column.group
    families = {(column.group, column.family) for column in COLUMNS if column.family}
    assert {(row["group"], row["family"]) for row in world.report.families.iter_rows(named=True)} == families
    for row in world.report.families.iter_rows(named=True):
        inside = [
            i for i, column in enumerate(COLUMNS) if (column.group, column.family) == (row["group"], row["family"])
        ]
        assert row["columns"] == len(inside)
        assert row["shap"] == pytest.approx(np.abs(contributions[:, inside].sum(axis=1)).mean(), rel=1e-4, abs=1e-7)
        assert row["gain"] == pytest.approx(sum(gains.get(f"f{i}", 0.0) for i in inside), rel=1e-5)


def test_shap_of_the_sample_is_that_of_all_rows_within_the_stated_errors(world: World, tmp_path: Path) -> None:
    world.booster.save(tmp_path)
    bare = xgb.Booster(model_file=tmp_path / world.booster.file_name)
    contributions = bare.predict(xgb.DMatrix(world.matrix.numpy()), pred_contribs=True)
    of_group = {
        group: np.abs(contributions[:, [i for i, column in enumerate(COLUMNS) if column.group == group]].sum(axis=1))
        for group in world.report.groups["group"]
    }
    assert world.report.basis.shap_rows == 1000
    drawn = sample_rows(2000, None, 1000, 7)
    for row in world.report.groups.iter_rows(named=True):
        sizes = of_group[row["group"]]
        sums = np.bincount(world.users[drawn], weights=sizes[drawn] - sizes[drawn].mean())
        assert row["shap_error"] == pytest.approx(np.sqrt((sums**2).sum()) / 1000, rel=0.01)
        assert row["shap"] == pytest.approx(sizes.mean(), abs=3 * row["shap_error"])
        assert row["shap_share_low"] < row["shap_share"] < row["shap_share_high"]
        whole = sizes.sum() / sum(map(np.sum, of_group.values()))
        assert row["shap_share"] == pytest.approx(whole, abs=row["shap_share_high"] - row["shap_share_low"])
    for row in world.report.columns.iter_rows(named=True):
        (place,) = [i for i, column in enumerate(COLUMNS) if column.name == row["column"]]
        assert row["shap"] == pytest.approx(np.abs(contributions[:, place]).mean(), abs=4 * row["shap_error"] + 1e-7)


def test_permutation_is_the_rise_of_the_log_loss_when_a_group_is_shuffled(world: World) -> None:
    intact = skm.log_loss(world.y, world.proba)
    for row in world.report.groups.iter_rows(named=True):
        losses = []
        for repeat in range(3):
            order = np.random.default_rng([7, repeat]).permutation(len(world.y))
            values = world.matrix.numpy().copy()
            for i, column in enumerate(COLUMNS):
                if column.group == row["group"]:
                    values[:, i] = values[order, i]
            losses.append(skm.log_loss(world.y, world.booster.predict_proba(FeatureMatrix(values, COLUMNS))))
        assert row["permutation"] == pytest.approx(np.mean(losses) - intact, abs=1e-6)
        assert row["permutation_low"] <= row["permutation"] <= row["permutation_high"]


def test_many_rows_are_shuffled_fewer_times_and_the_page_says_so(world: World, tmp_path: Path) -> None:
    many = np.arange(25_000) % 2000
    report = build(world.matrix.rows(many), world.y[many], world.booster, n_repeats=5, ablation_folds=0)
    assert "(25\u202f000 rows, shuffles of each: 2)" in report.save(tmp_path / "many.html").read_text(encoding="utf-8")
    shown = report.groups.row(by_predicate=pl.col("group") == "user behaviour", named=True)
    intact, losses = skm.log_loss(world.y[many], world.proba[many]), []
    for repeat in (0, 1):
        values = world.matrix.numpy()[many]
        values[:, :2] = values[np.random.default_rng([7, repeat]).permutation(25_000), :2]
        losses.append(skm.log_loss(world.y[many], world.booster.predict_proba(FeatureMatrix(values, COLUMNS))))
    assert shown["permutation"] == pytest.approx(np.mean(losses) - intact, abs=1e-6)


def test_permutation_interval_has_the_width_of_the_clustered_standard_error(world: World) -> None:
    row = world.report.groups.row(by_predicate=pl.col("group") == "user behaviour", named=True)
    rises = np.zeros(len(world.y))
    own = -np.log(world.proba[np.arange(len(world.y)), world.y])
    for repeat in range(3):
        order = np.random.default_rng([7, repeat]).permutation(len(world.y))
        values = world.matrix.numpy().copy()
        values[:, :2] = values[order, :2]
        proba = world.booster.predict_proba(FeatureMatrix(values, COLUMNS))
        rises += (-np.log(proba[np.arange(len(world.y)), world.y]) - own) / 3
    sums = np.bincount(world.users, weights=rises - rises.mean())
    error = np.sqrt((sums**2).sum()) / len(world.y)
    assert row["permutation_high"] - row["permutation_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_planted_truth_is_found(world: World) -> None:
    groups = world.report.groups
    assert groups["group"][0] == "user behaviour"
    assert groups["group"][-1] == "session"
    rows = {row["group"]: row for row in groups.iter_rows(named=True)}
    for cause in ("user behaviour", "item text"):
        assert rows[cause]["permutation_low"] > 0
    assert rows["session"]["permutation_low"] < 0 < rows["session"]["permutation_high"]
    ablation = world.report.ablation.filter(pl.col("metric") == "log_loss")
    dropped = {row["dropped"]: row for row in ablation.iter_rows(named=True)}
    assert next(iter(dropped)) == "none"
    for cause in ("user behaviour", "item text"):
        assert dropped[cause]["difference_low"] > 0
    for idle in ("session", "item behaviour"):  # noise, and a copy that the original stands in for
        assert dropped[idle]["difference_low"] < 0.002


def test_a_redundant_copy_is_flagged(world: World) -> None:
    said = world.report.to_markdown()
    assert "“user behaviour” and “item behaviour” say much the same (rank correlation 0.98)" in said
    assert said.count("say much the same") == 1


def test_ablation_is_cross_fitting_without_the_group(world: World) -> None:
    folds = assign_folds(world.y, np.unique(world.ids, return_inverse=True)[1], 2, 7)
    assert all(len(np.unique(folds[world.users == user])) == 1 for user in np.unique(world.users))
    reports = world.report.ablation.filter(pl.col("dropped").is_in(["none", "item text"]))
    cls = booster_class("xgboost")
    losses = {}
    for dropped, keep in (("none", range(13)), ("item text", [0, 1, 10, 11, 12])):
        part = FeatureMatrix(world.matrix.numpy()[:, list(keep)], tuple(COLUMNS[i] for i in keep))
        proba = np.zeros((2000, 2), dtype=np.float32)
        for fold in (0, 1):
            data = cls.bin(part.rows(np.flatnonzero(folds != fold)), world.y[folds != fold], n_jobs=1)
            refit = cls.train(data, n_classes=2, parameters=PARAMETERS, random_state=7, n_jobs=1)
            proba[folds == fold] = refit.predict_proba(part.rows(np.flatnonzero(folds == fold)))
        losses[dropped] = skm.log_loss(world.y, proba)
        expected = {
            "log_loss": losses[dropped],
            "roc_auc": skm.roc_auc_score(world.y, proba[:, 1]),
            "average_precision": skm.average_precision_score(world.y, proba[:, 1]),
        }
        shown = dict(reports.filter(pl.col("dropped") == dropped).select("metric", "value").iter_rows())
        assert shown == pytest.approx(expected, abs=1e-5)
    without_text = reports.row(
        by_predicate=(pl.col("dropped") == "item text") & (pl.col("metric") == "log_loss"), named=True
    )
    assert without_text["difference"] == pytest.approx(losses["item text"] - losses["none"], abs=1e-5)


def test_metrics_are_scikit_learns_over_all_rows(world: World) -> None:
    few = build(world.matrix, world.y, world.booster, groups=world.ids, max_rows=300, ablation_folds=0)
    assert few.basis.sampled_rows <= 300
    rate = world.y.mean()
    models = {"model": world.proba, "base rate": np.tile([1 - rate, rate], (2000, 1))}
    for name, proba in models.items():
        shown = dict(few.metrics.filter(pl.col("model") == name).select("metric", "value").iter_rows())
        assert shown["log_loss"] == pytest.approx(skm.log_loss(world.y, proba), abs=1e-6)
        assert shown["roc_auc"] == pytest.approx(skm.roc_auc_score(world.y, proba[:, 1]), abs=1e-9)
        assert shown["average_precision"] == pytest.approx(skm.average_precision_score(world.y, proba[:, 1]), abs=1e-9)
    baseline = world.report.metrics.row(
        by_predicate=(pl.col("model") == "half as sure") & (pl.col("metric") == "log_loss"), named=True
    )
    gap = skm.log_loss(world.y, world.baseline) - skm.log_loss(world.y, world.proba)
    assert baseline["difference"] == pytest.approx(gap, abs=1e-6)
    assert 0 < baseline["difference_low"] < gap < baseline["difference_high"]


def test_calibration_bins_hold_equally_many_rows_and_wilson_intervals(world: World) -> None:
    table = world.report.calibration
    assert table["class"].unique().to_list() == ["buys"]
    assert table["rows"].sum() == 2000
    order = np.argsort(world.proba[:, 1])
    gap = 0.0
    for row, rows in zip(table.iter_rows(named=True), np.split(order, np.cumsum(table["rows"])[:-1]), strict=True):
        assert 190 <= len(rows) <= 210
        assert row["mean_predicted"] == pytest.approx(world.proba[rows, 1].mean(), abs=1e-5)
        assert row["observed"] == pytest.approx(world.y[rows].mean())
        wilson = binomtest(int(world.y[rows].sum()), len(rows)).proportion_ci(0.95, method="wilson")
        assert (row["low"], row["high"]) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
        gap += len(rows) / 2000 * abs(row["mean_predicted"] - row["observed"])
    assert world.report.expected_calibration_error == pytest.approx(gap)


def test_calibration_never_parts_equal_probabilities() -> None:
    proba = np.column_stack([np.full(50, 0.7), np.full(50, 0.3)])
    table = calibration_table(np.arange(50) % 2, proba, ["a", "b"])
    assert table.select("mean_predicted", "observed", "rows").rows() == [(pytest.approx(0.3), 0.5, 50)]


class Reader(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.alternatives: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "xlink:href"):
                self.addresses.append(value or "")
            if tag == "svg" and name == "aria-label":
                self.alternatives.append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_page_is_one_small_file_that_loads_nothing_and_runs_its_own_script_alone(world: World, tmp_path: Path) -> None:
    path = world.report.save(tmp_path / "new" / "report.html")
    html = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    page = Reader(html)
    assert page.tags.count("script") == 1
    assert "link" not in page.tags or all(a.startswith(("#", "data:")) for a in page.addresses)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "@import" not in html
    assert "url(" not in html
    assert HOSTILE in "".join(page.texts)
    assert "secret" not in html
    assert len(page.alternatives) >= 11


def test_page_says_what_the_frames_say(world: World, tmp_path: Path) -> None:
    page = Reader(world.report.save(tmp_path / "report.html").read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.texts).split())
    loss = skm.log_loss(world.y, world.proba)
    base = skm.log_loss(world.y, np.tile([1 - world.y.mean(), world.y.mean()], (2000, 1)))
    assert f"the model’s log loss is {100 * (base - loss) / base:.0f}" in text
    assert "lower than that of “half as sure”" in text
    share = world.report.groups["shap_share"][0]
    assert f"“user behaviour” moves the scores most, with {100 * share:.0f}" in text
    assert "“session” (" in text
    assert "adds nothing that these rows can show" in text
    assert "item text: 8 coordinates" in text
    assert "item__text_3" not in text
    for group in world.report.groups["group"]:
        assert any(group in alternative for alternative in page.alternatives)


def test_same_inputs_give_the_same_page(world: World, tmp_path: Path) -> None:
    small = world.matrix.rows(np.arange(300))
    pages = [build(small, world.y[:300], world.booster).save(tmp_path / f"{i}.html").read_bytes() for i in (0, 1)]
    assert pages[0] == pages[1]


def test_only_html_and_json_are_written(world: World, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"saved as \.html or \.json, not as 'report\.pdf'"):
        world.report.save(tmp_path / "report.pdf")


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_many_classes(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    k = 30
    y = rng.integers(0, k, size=900)
    values = (rng.normal(size=(k, 6))[y] + 0.5 * rng.normal(size=(900, 6))).astype(np.float32)
    columns = tuple(Column(f"c{i}", "query text" if i < 4 else "session") for i in range(6))
    matrix = FeatureMatrix(values, columns)
    booster = train(matrix, y, k, name, rounds=2)
    inside = y != 3  # a class that the report's rows lack
    parameters = TreeParameters(n_estimators=2, max_depth=2)
    report = build(
        matrix.rows(np.flatnonzero(inside)),
        y[inside],
        booster,
        classes=list(range(k)),
        parameters=parameters,
        n_repeats=1,
    )
    assert report.basis.shap_rows == 500
    assert report.metrics["metric"].unique().sort().to_list() == ["accuracy", "log_loss"]
    assert set(report.calibration["class"]) == {"predicted class", *map(str, range(k))}
    assert report.ablation["dropped"].unique(maintain_order=True).to_list() == ["none", *report.groups["group"]]
    assert "No rows of “3”." in report.save(tmp_path / "many.html").read_text(encoding="utf-8")


def test_rows_of_one_class_give_a_report_without_ranking(world: World, tmp_path: Path) -> None:
    rows = np.flatnonzero(world.y == 0)[:40]
    report = build(world.matrix.rows(rows), world.y[rows], world.booster)
    values = dict(report.metrics.filter(pl.col("model") == "model").select("metric", "value").iter_rows())
    assert values["log_loss"] == pytest.approx(-np.log(world.proba[rows, 0]).mean(), rel=1e-5)
    assert np.isnan(values["roc_auc"])
    assert report.ablation.is_empty()
    html = report.save(tmp_path / "one.html").read_text(encoding="utf-8")
    assert "n/a" in html
    assert "No models were refitted: the rows hold one class only" in html
    assert "candidate to drop" not in html


@pytest.mark.parametrize("n", [1, 2, 20])
def test_a_handful_of_rows_is_not_overread(world: World, tmp_path: Path, n: int) -> None:
    rows = np.r_[np.flatnonzero(world.y == 1)[:1], np.flatnonzero(world.y == 0)[: n - 1]]
    report = build(world.matrix.rows(rows), world.y[rows], world.booster, ablation_folds=3)
    assert report.groups.height == 4
    assert "candidate to drop" not in report.save(tmp_path / "few.html").read_text(encoding="utf-8")


def test_one_group_of_columns_cannot_be_left_out(world: World) -> None:
    matrix = world.matrix.without(["item text", "item behaviour", "session"]).rows(np.arange(500))
    report = build(matrix, world.y[:500], train(matrix, world.y[:500], rounds=5))
    assert report.ablation["dropped"].unique().to_list() == ["none"]
    assert report.groups["shap_share"].to_list() == [1.0]


def test_intervals_of_one_group_of_rows_are_undefined(world: World) -> None:
    report = build(world.matrix.rows(np.arange(100)), world.y[:100], world.booster, groups=np.zeros(100))
    assert report.metrics.select(pl.col("low", "high").is_nan().all()).row(0) == (True, True)
    assert report.groups["permutation_low"].is_nan().all()
    assert "single group" in report.basis.no_ablation


def test_samples_are_whole_groups_where_these_fit() -> None:
    groups = np.repeat(np.arange(50), 20)
    drawn = sample_rows(1000, groups, 210, 0)
    assert len(drawn) == 200
    assert set(np.bincount(groups[drawn])) == {0, 20}
    assert len(sample_rows(1000, np.arange(1000) // 500, 210, 0)) == 210


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"groups": [1, 2]}, LabelError, "groups: 2 rows for 50 labels"),
        ({"baselines": {"old": np.ones((3, 2))}}, LabelError, "old: 3 rows for 50 labels"),
        ({"baselines": {"model": np.ones((50, 2))}}, ParameterError, "cannot be named 'model'"),
        ({"n_repeats": 0}, ParameterError, "n_repeats"),
        ({"ablation_folds": 1}, ParameterError, "ablation_folds"),
        ({"max_rows": 1}, ParameterError, "max_rows"),
    ],
)
def test_wrong_input_is_named(world: World, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build(world.matrix.rows(np.arange(50)), world.y[:50], world.booster, **options)
