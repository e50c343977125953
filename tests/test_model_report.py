"""The report of a fitted model from its own frame: slices, baselines, groups of rows, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as skm
from page_tables import check
from shop import hybrid, shop

from features.errors import ColumnError
from hybrid import HybridClassifier, LabelError, ParameterError


@pytest.fixture(scope="module")
def world() -> SimpleNamespace:
    """A model of the shop, a poorer one, and the report of rows that neither was trained on."""
    X, y, events = shop(1_400)
    train, test = X[:800], X[800:]
    model = hybrid().fit(train, y[:800], events=events)
    poorer = HybridClassifier(numeric=["price"], n_estimators=5, n_jobs=1).fit(train, y[:800])
    report = model.report(
        test,
        y[800:],
        baseline={"price alone": poorer},
        slices=["category", "price"],
        query="query",
        show_texts=["title"],
        ablation_folds=2,
    )
    return SimpleNamespace(model=model, poorer=poorer, report=report, X=test, y=y[800:].astype(np.int64), events=events)


def test_baseline_and_slices_are_those_of_the_frame(world: SimpleNamespace) -> None:
    proba = world.poorer.predict_proba(world.X)
    shown = world.report.metrics.filter(model="price alone", metric="roc_auc")["value"][0]
    assert shown == pytest.approx(skm.roc_auc_score(world.y, proba[:, 1]))
    own = world.model.predict_proba(world.X)
    inside = (world.X["category"] == "a").to_numpy()
    row = world.report.slices.filter(slice="category", part="a", metric="log_loss").row(0, named=True)
    assert row["rows"] == inside.sum()
    assert row["value"] == pytest.approx(skm.log_loss(world.y[inside], own[inside]), abs=1e-5)
    assert {"user", "time", "category", "price"} <= set(world.report.slices["slice"])
    assert world.report.basis.row_groups == world.X["user"].n_unique()


def test_a_model_as_baseline_reads_the_given_events(world: SimpleNamespace) -> None:
    early = world.events.sort("ts")[:300]
    X, y = world.X[:200], world.y[:200]
    report = world.model.report(X, y, early, baseline=world.model, ablation_folds=0)
    rows = report.metrics.filter(metric="log_loss")
    expected = skm.log_loss(y, world.model.predict_proba(X, events=early))
    assert rows.filter(model="model")["value"][0] == pytest.approx(expected, abs=1e-6)
    assert rows.filter(model="baseline")["value"][0] == pytest.approx(expected, abs=1e-6)


def test_groups_of_rows_may_be_a_column_or_its_values(world: SimpleNamespace) -> None:
    few, y = world.X[:150], world.y[:150]
    named = world.model.report(few, y, groups_of_rows="item", ablation_folds=0)
    given = world.model.report(few, y, groups_of_rows=few["item"].to_numpy(), ablation_folds=0)
    assert named.metrics.equals(given.metrics)
    assert named.groups.equals(given.groups)
    assert named.basis.row_groups == 6


def test_texts_are_shown_where_declared_and_ids_never(world: SimpleNamespace, tmp_path: Path) -> None:
    assert set(world.report.examples["text: title"]) <= set(world.X["title"])
    X = world.X.with_columns(
        title=pl.lit("<script>alert('x')</script>"), user=pl.lit("user-secret-") + pl.col("user").cast(pl.String)
    )
    model, events = hybrid(behavior=None).fit(X, world.y), None
    report = model.report(X, world.y, events, groups_of_rows="user", show_texts=["title"], ablation_folds=0)
    html = report.save(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "secret" not in html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    hidden = model.report(X, world.y, groups_of_rows="user", ablation_folds=0).save(tmp_path / "h.html")
    assert "alert" not in hidden.read_text(encoding="utf-8")


def test_ranking_is_by_the_declared_query(world: SimpleNamespace) -> None:
    row = world.report.ranking.filter(model="model", metric="ndcg_at_10").row(0, named=True)
    proba = world.model.predict_proba(world.X)[:, 1]
    of_query = [
        skm.ndcg_score([world.y[inside]], [proba[inside]], k=10)
        for query in world.X["query"].unique()
        if world.y[inside := (world.X["query"] == query).to_numpy()].any()
    ]
    assert row["value"] == pytest.approx(np.mean(of_query))
    assert row["queries"] == len(of_query)


def test_json_holds_every_frame_and_markdown_the_page(world: SimpleNamespace, tmp_path: Path) -> None:
    read = json.loads(world.report.save(tmp_path / "report.json").read_text(encoding="utf-8"))
    for name in (
        "groups",
        "columns",
        "interactions",
        "slices",
        "calibration",
        "examples",
        "ablation",
        "metrics",
        "ranking",
    ):
        frame = getattr(world.report, name)
        assert list(read[name]) == frame.columns
        for column in frame:
            values = [None if value is None or value != value else value for value in column.to_list()]
            assert read[name][column.name] == values
    assert read["classes"] == [False, True]
    assert read["basis"]["rows"] == 600
    said = world.report.to_markdown()
    assert said.startswith("# Which evidence mattered\n")
    assert world.report.answer[0] in said
    assert "## Where it errs" in said
    assert "<" not in said


def test_provenance_says_which_rows_and_how_long(world: SimpleNamespace) -> None:
    few, y, shown = world.X[:100], world.y[:100].astype(bool), "fingerprint of rows and labels"
    found = world.model.report(few, y, ablation_folds=0).provenance
    assert found["rows"] == "100"
    assert found["training rows"] == "800"
    assert set(found["seconds of this report"]) == {"predictions", "words", "all else"}
    same = world.model.report(few.with_columns(unread=pl.lit(1)), y, ablation_folds=0).provenance
    assert same[shown] == found[shown]
    for other, labels in ((few.with_columns(pl.col("price") * 2), y), (few, ~y), (few.reverse(), y)):
        assert world.model.report(other, labels, ablation_folds=0).provenance[shown] != found[shown]


def test_numbers_on_the_page_are_those_of_the_frames(world: SimpleNamespace, tmp_path: Path) -> None:
    of_two = check(world.report.save(tmp_path / "two.html").read_text(encoding="utf-8"), world.report)
    y = np.where(world.X["price"] > 0.8, "dear", np.where(world.y, "buys", "leaves"))
    model = hybrid(n_estimators=8, text_channels={"coordinates": 8}).fit(world.X[:300], y[:300], events=world.events)
    report = model.report(world.X[300:], y[300:], slices=["category"], ablation_folds=0)
    of_three = check(report.save(tmp_path / "three.html").read_text(encoding="utf-8"), report)
    assert len(of_two) > 20
    assert {"Share of SHAP in the margin of each class.", "Of the rows of each class (down)"} <= of_three - of_two


def test_contributions_add_up_to_the_margin(world: SimpleNamespace) -> None:
    assert world.report.basis.shap_gap < 1e-4


def test_with_two_classes_the_by_class_frame_is_that_of_the_groups(world: SimpleNamespace) -> None:
    both = world.report.by_class.join(world.report.groups, on="group", suffix="_all")
    assert both["class"].unique().to_list() == ["True"]
    assert both["shap"].to_numpy() == pytest.approx(both["shap_all"].to_numpy())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"slices": ["categry"]}, ParameterError, "slices names 'categry'; .*did you mean 'category'"),
        ({"slices": "category"}, ParameterError, r"must be a list of columns: \['category'\]"),
        ({"slices": ["user"]}, ParameterError, "tells single users or sessions apart"),
        ({"show_texts": ["titel"]}, ParameterError, "show_texts names 'titel'; .*did you mean 'title'"),
        ({"show_texts": ["user"]}, ParameterError, "tells single users or sessions apart"),
        ({"query": "quer"}, ParameterError, "query names 'quer'; .*did you mean 'query'"),
        ({"costs": {"fp": 1}}, ParameterError, "costs names 'fp'"),
        ({"groups_of_rows": [1, 2]}, ParameterError, "groups_of_rows has 2 values for 600 rows"),
        ({"groups_of_rows": "usr"}, ParameterError, "no column 'usr'.*'user'"),
        ({"baseline": {"old": np.ones((600, 3))}}, LabelError, r"'old': probabilities of shape \(600, 3\)"),
        ({"baseline": object()}, LabelError, "'baseline': probabilities of shape"),
    ],
)
def test_wrong_options_are_named(world: SimpleNamespace, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        world.model.report(world.X, world.y.astype(bool), **options)


def test_rows_that_lack_a_column_are_named(world: SimpleNamespace) -> None:
    with pytest.raises(ColumnError, match="price"):
        world.model.report(world.X.drop("price"), world.y.astype(bool))


def test_a_baseline_of_other_classes_is_refused(world: SimpleNamespace) -> None:
    other = HybridClassifier(numeric=["price"], n_estimators=2, n_jobs=1).fit(
        world.X, np.where(world.y, "buy", "leave")
    )
    with pytest.raises(LabelError, match=r"knows the classes \['buy', 'leave'\], the model \[False, True\]"):
        world.model.report(world.X, world.y.astype(bool), baseline=other)


def test_a_slice_of_lists_is_refused(world: SimpleNamespace) -> None:
    X = world.X.with_columns(tags=pl.lit(["a"]))
    with pytest.raises(ParameterError, match="'tags', which holds List"):
        world.model.report(X, world.y.astype(bool), slices=["tags"])
