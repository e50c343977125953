"""What each channel of text adds, on three data sets, as tables and as the pictures of docs/text.md.

    python docs/text_gallery.py FOLDER [clinc | relevance | search_relevance ...]

FOLDER holds the Parquet files that benchmarks/text.py reads. Writes docs/images/text-NAME.svg and prints a row for each model:
the score, how much better it is than all channels together with the 95 % interval (bootstrap of whole queries),
and the seconds of growing the trees.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from gallery import IMAGES, beside
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import GroupKFold

from hybrid import HybridClassifier, TextEncoder
from hybrid.channels import AUTO, FEATURE, MARGIN
from hybrid.charts import Bar, bar_chart
from hybrid.head import fit_head
from hybrid.head.choice import splits_to_compare, with_head
from hybrid.head.folds import head_folds
from hybrid.holdout import hold_out
from hybrid.match import GROUP as MATCH

Score = Callable[[np.ndarray, np.ndarray], float]
"""Of truth and prediction; higher is better."""

TREES = {"n_estimators": 300, "learning_rate": 0.05, "max_depth": 5, "subsample": 0.8, "colsample": 0.4}
MANY_CLASSES = {"n_estimators": 60, "learning_rate": 0.2, "max_depth": 3, "subsample": 0.8, "colsample": 0.4}
LARGER = {"n_estimators": 100, "learning_rate": 0.1, "max_depth": 4, "subsample": 0.8, "colsample": 0.4}
DRAWS = 300


@dataclass(frozen=True)
class Fold:
    """Rows to train on and rows to test on, with their labels, the queries of the test rows, and the groups of the training rows."""

    train: pl.DataFrame
    test: pl.DataFrame
    y: np.ndarray
    truth: np.ndarray
    queries: pl.Series
    groups: pl.Series | None = None


@dataclass(frozen=True)
class Found:
    """The score of one model, and how much better it is than all channels together, with the interval."""

    name: str
    score: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Task:
    """One data set: what is read of it, and how it is judged.

    Parameters
    ----------
    name, title, unit : str
    text : mapping from role to column
    folds : list of Fold
    channels : tuple of str
        Those that apply: "match" needs two texts.
    settings : mapping
        Of the classifier.
    predict : callable
        From probabilities and classes to predictions.
    score : Score
    base : float
        The score without text: where bars begin. With the RMSE of the training mean it is a difference of errors.
    """

    name: str
    title: str
    unit: str
    text: dict[str, str]
    folds: list[Fold]
    channels: tuple[str, ...]
    settings: Callable[[set[str]], dict[str, Any]]
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray]
    score: Score
    base: float


def clinc(folder: Path) -> Task:
    """150 query intents: train and validation rows, in-scope test accuracy."""
    rows = pl.read_parquet(folder / "clinc150.parquet").filter(pl.col("intent") != "oos")
    train, test = rows.filter(pl.col("split").is_in(["train", "val"])), rows.filter(pl.col("split") == "test")
    labels = (train["intent"].to_numpy(), test["intent"].to_numpy())
    return Task(
        name="clinc",
        title="150 intents",
        unit="accuracy",
        text={"query": "text"},
        folds=[Fold(train, test, *labels, test["text"])],
        channels=("coordinates", "head"),
        # Without the head 60 rounds of 150 trees take minutes.
        settings=lambda on: MANY_CLASSES if "head" in on else {**MANY_CLASSES, "n_estimators": 20},
        predict=lambda proba, classes: classes[proba.argmax(axis=1)],
        score=lambda truth, said: float((truth == said).mean()),
        base=0.0,
    )


def relevance(folder: Path) -> Task:
    """Four grades of query and product, two of five folds by row: quadratic weighted kappa of the rounded expectation."""
    rows = pl.read_parquet(folder / "query_product_relevance.parquet")
    folds = []
    for fold in (1, 2):
        train, test = rows.filter(pl.col("fold") != fold), rows.filter(pl.col("fold") == fold)
        folds.append(
            Fold(train, test, train["relevance"].to_numpy(), test["relevance"].to_numpy(), test["query"]),
        )
    return Task(
        name="relevance",
        title="Four grades",
        unit="kappa",
        text={"query": "query", "title": "title", "description": "description"},
        folds=folds,
        channels=("match", "coordinates", "head"),
        settings=lambda on: TREES,
        predict=lambda proba, classes: np.rint(proba @ classes),
        score=lambda truth, said: float(cohen_kappa_score(truth, said, weights="quadratic")),
        base=0.0,
    )


def search_relevance(folder: Path) -> Task:
    """Relevance 1 to 3 of query and title by unseen queries: RMSE on the first of five folds, trained on the last two."""
    rows = pl.read_parquet(folder / "product_search_relevance.parquet")
    parts = [test for _, test in GroupKFold(5).split(rows["query"], groups=rows["query"].rank("dense").to_numpy())]
    train = rows[np.sort(np.concatenate(parts[3:]))]
    y = (train["relevance"].to_numpy() * 3).round() / 3  # the mean of three judges: seven grades
    test = rows[parts[0]]
    truth = test["relevance"].to_numpy()
    return Task(
        name="search-relevance",
        title="New queries",
        unit="RMSE",
        text={"query": "query", "title": "title"},
        folds=[Fold(train, test, y, truth, test["query"], train["query"])],
        channels=("match", "coordinates", "head"),
        settings=lambda on: LARGER,
        predict=lambda proba, classes: proba @ classes,
        score=lambda truth, said: -float(np.mean((truth - said) ** 2) ** 0.5),
        base=-float(np.mean((truth - y.mean()) ** 2) ** 0.5),
    )


def ablation(task: Task) -> None:
    """Fit each channel alone, all of them, and all but each; print the scores and draw the picture."""
    for column in task.text.values():
        TextEncoder().encode(pl.concat([part[column] for fold in task.folds for part in (fold.train, fold.test)]))
    everything = set(task.channels)
    alone = {f"{channel} alone": {channel} for channel in task.channels}
    without = {f"without {channel}": everything - {channel} for channel in task.channels} if len(alone) > 2 else {}
    started = time.perf_counter()
    folds = [Trees(task, fold) for fold in task.folds]
    print(f"  matrices and heads: {time.perf_counter() - started:.0f} s", flush=True)
    for fold in folds:
        print(f"  head as {fold.choice.mode}: {fold.choice.reason}", flush=True)
    rows = {name: (on, MARGIN) for name, on in alone.items()}
    rows |= {name: (on, AUTO) for name, on in {"all": everything, **without}.items()}
    if without:
        rows |= {"all, head as margin": (everything, MARGIN), "all, head as columns": (everything, FEATURE)}
    said = {}
    for name, (on, mode) in rows.items():
        started = time.perf_counter()
        said[name] = np.concatenate([trees.predict(on, mode) for trees in folds])
        print(f"  {name}: {time.perf_counter() - started:.0f} s", flush=True)
    truth = np.concatenate([fold.truth for fold in task.folds])
    queries = pl.concat([fold.queries for fold in task.folds]).rank("dense").to_numpy() - 1
    found = []
    for name in said:
        score = task.score(truth, said[name])
        low, high = _interval(task.score, truth, said["all"], said[name], queries)
        found.append(Found(name, score, score - task.score(truth, said["all"]), low, high))
        print(f"  {name:24} {abs(score):.4f}  {found[-1].change:+.4f} ({low:+.4f} to {high:+.4f})", flush=True)
    (IMAGES / f"text-{task.name}.svg").write_text(picture(task, found), "utf-8")


def picture(task: Task, found: list[Found]) -> str:
    """Channels alone and together, and what becomes of all of them by a change."""
    together = [row for row in found if row.name == "all" or row.name.endswith("alone")]
    others = [row for row in found if row not in together] or [row for row in together if row.name != "all"]
    what = "RMSE less than the mean's" if task.unit == "RMSE" else task.unit
    levels = [Bar(row.name, row.score - task.base, text=f"{abs(row.score):.3f}") for row in together]
    changes = [
        Bar(row.name, row.change, row.low, row.high, f"{row.change:+.3f}", muted=row.low <= 0 <= row.high)
        for row in others
    ]
    return beside([
        bar_chart(levels, title=f"{task.title}: {what}"),
        bar_chart(changes, title="Better than all channels (below 0: worse)"),
    ])  # fmt: skip


class Trees:
    """Trees on chosen channels of one fold; its texts are encoded and its head is trained once for all of them."""

    def __init__(self, task: Task, fold: Fold) -> None:
        model = HybridClassifier(text=task.text)
        self._builder = model.builder()
        self._labels, self._codes = np.unique(fold.y, return_inverse=True)
        inside, outside = (self._builder.encode(frame) for frame in (fold.train, fold.test))
        self._train = self._builder.fit(fold.train, inside, None)
        self._test = self._builder.matrix(fold.test)
        declared = model.channels().head
        groups = None if fold.groups is None else fold.groups.rank("dense").to_numpy().astype(np.int64)
        folds = head_folds(self._codes, groups, None, declared.folds, model.random_state)
        self._head = fit_head(declared, inside, self._codes, n_classes=len(self._labels), folds=folds)
        self._logits = self._head.head.logits(outside)
        self._task = task
        splits = splits_to_compare(hold_out(self._codes, groups, None, model.random_state), self._codes, folds)
        trees = self._model(set(task.channels))
        self.choice = trees.choose_head(self._train, self._head, self._codes, splits)

    def _model(self, on: set[str]) -> HybridClassifier:
        model = HybridClassifier(early_stopping_rounds=None, **self._task.settings(on))
        model.classes_ = self._labels
        return model

    def predict(self, on: set[str], mode: str) -> np.ndarray:
        """Predictions of the test rows by trees that read these channels, as HybridClassifier grows them."""
        entered = self.choice.mode if mode == AUTO else mode
        off = [] if "match" in on else [group for group in self._train.groups if group == MATCH]
        off += [] if "coordinates" in on else [f"{role} text" for role in self._task.text]
        train, test = (
            with_head(matrix.without(off), logits, self._head.head, entered if "head" in on else None, self._labels)
            for matrix, logits in ((self._train, self._head.logits), (self._test, self._logits))
        )
        model = self._model(on)
        trees = model.grow(train, self._codes, None, None, model.tree_parameters())
        return self._task.predict(trees.predict_proba(test), self._labels)


def _interval(score: Score, truth: np.ndarray, all_: np.ndarray, one: np.ndarray, queries: np.ndarray) -> list[float]:
    """95 % of how much better one is than all, over samples of queries."""
    rng = np.random.default_rng(0)
    order, starts = np.argsort(queries, kind="stable"), np.append(0, np.cumsum(np.bincount(queries)))
    better = []
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(starts) - 1, len(starts) - 1)
        rows = np.concatenate([order[starts[query] : starts[query + 1]] for query in drawn])
        better.append(score(truth[rows], one[rows]) - score(truth[rows], all_[rows]))
    return np.quantile(better, [0.025, 0.975]).tolist()


TASKS = (clinc, relevance, search_relevance)

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for make in TASKS:
        if len(sys.argv) == 2 or make.__name__ in sys.argv[2:]:
            print(f"{make.__name__}: {(make.__doc__ or '').splitlines()[0]}", flush=True)
            ablation(make(Path(sys.argv[1])))
