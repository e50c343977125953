"""`intentree demo`: the main job on a real purchase log, from events to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from hybrid import HybridClassifier
    from hybrid.metrics import Bootstrap
    from intentree.completejourney import PurchaseTask
    from intentree.progress import Progress

METRICS = ("roc_auc", "average_precision", "log_loss")
ROWS = ("text only", "behaviour only", "hybrid", "30-day count", "base rate")

# The search varies how the trees grow and whether they read coordinates of the item's text. The basket's coordinates stay out: a basket is
# the same for all candidates of a household and a cut-off, so they tell the trees which household it is and little of what it will buy; the
# basket counts through its match with the item. The table compares text, behaviour and both, so every other group stays in; and behaviour
# stays as it is declared, since twenty trials are few for more.
SPACE = {
    "booster": ["xgboost", "lightgbm"],
    "learning_rate": (0.03, 0.1),
    "max_depth": (4, 8),
    "min_child_weight": (5.0, 100.0),
    "subsample": (0.6, 1.0),
    "colsample": (0.3, 1.0),
    "reg_lambda": (1.0, 20.0),
    "reg_alpha": 0.0,
    "coordinates": 16,
    "decay half_lives": [["7d", "30d", "90d"]],
    **{f"window {window}": True for window in ("7d", "30d", "90d", "all")},
    "use query text": False,
    "use item text": [True, False],
    **{
        f"use {group}": True
        for group in ("text match", "recent interest", "user behaviour", "item behaviour", "category behaviour")
    },
}


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything that the demo writes.")] = Path(
        "demo"
    ),
    all_households: Annotated[bool, typer.Option("--all", help="All 2,469 households in place of 400.")] = False,
    households: Annotated[int, typer.Option(help="Households to draw.", min=2)] = 400,
    trials: Annotated[int, typer.Option(help="Trials of the tuning study.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Will this household buy this product type within 7 days? The main job on 1.5 million real purchases.

    Trains on cut-offs to 1 September 2017, tunes and stops early on 15 September and 1 October, tests on those from 15 October. Writes
    artifact/, scores/, candidates/, study.db, study.html, report.html and metrics.json into the output folder.
    """
    import json

    from intentree.completejourney import purchase_task
    from intentree.printing import print_lines
    from intentree.progress import shown_progress

    output.mkdir(parents=True, exist_ok=True)
    with shown_progress() as progress:
        progress("read purchases", 0, 1)
        task = purchase_task(households=None if all_households else households, random_state=seed)
        progress("read purchases", 1, 1)
        hybrid = _tuned(task, purchase_model(task, seed, device), output, trials, progress)
        hybrid.save(output / "artifact")
        probas = _probabilities(task, hybrid, output, progress)
    table = _table(task.test, probas)
    _print_table(task, hybrid, table)
    differences = _differences(task.test, probas)
    _print_differences(differences)
    metrics = {row: {metric: vars(table.interval(row, metric)) for metric in METRICS} for row in ROWS}
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")

    with shown_progress() as progress:
        report = hybrid.report(
            task.test,
            task.test["bought"],
            baseline={name: probas[name] for name in ROWS if name not in ("hybrid", "base rate")},
            slices=["department"],
            show_texts=["product_type"],
            max_rows=15_000,
            title="Will this household buy this product type within 7 days?",
            progress=progress,
        )
    report.save(output / "report.html")
    print_lines(f"open {output / 'report.html'} and {output / 'study.html'}")


def purchase_model(task: PurchaseTask, seed: int, device: str) -> HybridClassifier:
    from features import BehaviorFeatures, Decay, EventLog, Rhythm
    from hybrid import HybridClassifier

    log = EventLog(user="household_id", item="product_type", session="basket_id", event="event", timestamp="timestamp")
    pairs = [("user", "item"), ("user", "category")]
    behavior = BehaviorFeatures(
        log,
        keys=["user", "item", "category", ("user", "item"), ("user", "category"), ("user", "department")],
        windows=["7d", "30d", "90d", "all"],
        distinct=["user", "item", "category", "session"],
        # The two that gained on the cut-offs of the search, if little; shares, trends, interest, profiles and similar households did not.
        families=[Decay(keys=pairs, half_lives=["7d", "30d", "90d"]), Rhythm(keys=pairs)],
    )
    return HybridClassifier(
        text={"query": "basket", "item": ["product_type", "category", "department"]},
        behavior=behavior,
        head=None,
        text_channels={"coordinates": 16, "recent_interest": 100},
        learning_rate=0.08,
        max_depth=4,
        min_child_weight=20,
        subsample=0.8,
        colsample=0.5,
        reg_lambda=5.0,
        early_stopping_rounds=30,
        random_state=seed,
        device=device,
    )


def _tuned(
    task: PurchaseTask, model: HybridClassifier, output: Path, trials: int, progress: Progress
) -> HybridClassifier:
    """Search on the fold train -> valid, then fit the best settings to the training cut-offs, stopping early on valid."""
    import numpy as np
    import polars as pl

    from tuning import tune

    examples = pl.concat([task.train, task.valid])
    fold = (np.arange(task.train.height), np.arange(task.train.height, examples.height))
    # A study of an earlier run would go on; the demo shows one run.
    (output / "study.db").unlink(missing_ok=True)
    study = tune(
        model,
        examples,
        examples["bought"],
        events=task.events,
        space=SPACE,
        cv=[fold],
        n_trials=trials,
        storage=f"sqlite:///{output / 'study.db'}",
        study_name="purchase intent",
        random_state=model.random_state,
        progress=progress,
    )
    study.report(output / "study.html")
    return _fit(model, study.best_params, task, progress)


def _fit(model: HybridClassifier, changed: dict[str, Any], task: PurchaseTask, progress: Progress) -> HybridClassifier:
    from sklearn.base import clone

    model = clone(model).set_params(**changed)
    events = None if model.behavior is None else task.events
    return model.fit(
        task.train, task.train["bought"], events=events, eval_set=(task.valid, task.valid["bought"]), progress=progress
    )


def _probabilities(
    task: PurchaseTask, hybrid: HybridClassifier, output: Path, progress: Progress
) -> dict[str, np.ndarray]:
    """Test probabilities by row of the table; the hybrid's come from files scored with the saved artifact."""
    behaviors = sorted({column.group for column in hybrid.columns_ if column.group.endswith("behaviour")})
    probas = {
        "text only": _fit(hybrid, {"without": [*behaviors, "query text"]}, task, progress).predict_proba(task.test),
        "behaviour only": _fit(
            hybrid, {"text": None, "text_channels": None, "without": ()}, task, progress
        ).predict_proba(task.test),
        "hybrid": _scored(task, output, progress),
        "30-day count": _count_rates(task, hybrid),
        "base rate": _constant(float(task.train["bought"].to_numpy().mean()), task.test.height),
    }
    return {name: probas[name] for name in ROWS}


def _scored(task: PurchaseTask, output: Path, progress: Progress) -> np.ndarray:
    """Write the test candidates as one file a cut-off, score them with the artifact, and read the scores back."""
    import numpy as np
    import polars as pl

    from hybrid import score_parquet

    (output / "candidates").mkdir(exist_ok=True)
    files = []
    for (cut_off,), part in task.test.group_by("timestamp", maintain_order=True):
        files.append(output / "candidates" / f"{cut_off!s:.10}.parquet")
        part.drop("bought", "discovery").write_parquet(files[-1])
    written = score_parquet(
        output / "artifact",
        files,
        output / "scores",
        id_columns=["household_id", "product_type", "timestamp"],
        progress=progress,
    )
    scores = pl.concat([pl.read_parquet(path) for path in written])
    for name in ("household_id", "product_type", "timestamp"):
        assert scores[name].equals(task.test[name]), f"scores of {name} are out of order"
    return scores.select("proba_False", "proba_True").to_numpy().astype(np.float32)


def _count_rates(task: PurchaseTask, hybrid: HybridClassifier) -> np.ndarray:
    """The training rate of candidates with the same number of the pair's purchases in 30 days (10 and more as one)."""
    import numpy as np

    behavior = hybrid.builder_.evidence.behavior
    assert behavior is not None
    train, test = (
        np.minimum(behavior.transform(part)["user_x_item__purchase__30d"].to_numpy(), 10)
        for part in (task.train, task.test)
    )
    bought = np.bincount(train, weights=task.train["bought"].to_numpy(), minlength=11)
    rates = (bought + 1) / (np.bincount(train, minlength=11) + 2)
    return np.stack([1 - rates[test], rates[test]], axis=1)


def _constant(rate: float, rows: int) -> np.ndarray:
    import numpy as np

    return np.tile([1 - rate, rate], (rows, 1))


def _table(test: pl.DataFrame, probas: dict[str, np.ndarray]) -> Bootstrap:
    from hybrid.metrics import Bootstrap

    return Bootstrap(test["bought"].cast(int).to_numpy(), probas, METRICS, groups=test["household_id"].to_numpy())


def _differences(test: pl.DataFrame, probas: dict[str, np.ndarray]) -> dict[str, Bootstrap]:
    """Hybrid and behaviour only on all candidates, and on those that are new to the household."""
    discovery = test["discovery"].to_numpy()
    compared = {name: probas[name] for name in ("hybrid", "behaviour only")}
    return {
        "overall": _table(test, compared),
        "discovery": _table(test.filter(discovery), {name: proba[discovery] for name, proba in compared.items()}),
    }


def _print_table(task: PurchaseTask, hybrid: HybridClassifier, table: Bootstrap) -> None:
    from intentree.printing import print_lines, print_table, with_interval

    bought, discovery = (task.test[name].to_numpy().mean() for name in ("bought", "discovery"))
    print_lines(
        f"{task.events.height:,} purchases; {task.train.height:,} candidates to learn from, {task.valid.height:,} to tune on, "
        f"{task.test.height:,} to test on, of which {bought:.1%} bought and {discovery:.1%} discovery",
        f"{hybrid.booster}, {hybrid.booster_.best_iteration} rounds, {len(hybrid.columns_)} columns",
    )
    rows = [[row, *(with_interval(**vars(table.interval(row, metric))) for metric in METRICS)] for row in ROWS]
    print_table(["", *METRICS], rows, "Test cut-offs from 15 October, 95 % intervals by household")


def _print_differences(differences: dict[str, Bootstrap]) -> None:
    from intentree.printing import print_lines, print_table

    rows, verdicts = [], []
    for where, table in differences.items():
        found = {metric: table.difference("hybrid", "behaviour only", metric) for metric in METRICS}
        rows.append([where, *(f"{d.value:+.4f} ({d.low:+.4f} to {d.high:+.4f})" for d in found.values())])
        precision = found["average_precision"]
        verdict = (
            "helps"
            if precision.low > 0
            else "costs"
            if precision.high < 0
            else "makes no difference that this data can show"
        )
        verdicts.append(f"{where}: adding text to behaviour {verdict} in average precision")
    print_table(["", *METRICS], rows, "Hybrid minus behaviour only, paired, 95 % intervals by household")
    print_lines(*verdicts)
