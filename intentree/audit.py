"""`intentree features --audit`: the leak audit over train, valid and test together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from features import audit
from intentree.printing import print_lines, print_table

if TYPE_CHECKING:
    from features import AuditReport, BehaviorFeatures
    from intentree.config import Config
    from intentree.inputs import Examples


def audited(
    config: Config, behavior: BehaviorFeatures, splits: Mapping[str, Examples], columns: pl.DataFrame | None
) -> AuditReport:
    """Audit fitted features, and further columns, on the examples of all splits, which are its folds.

    Test rows are those of `test`, without it those of `valid`, without both the last fifth. Two examples are the same when they agree in
    keys, timestamp and all that `[model]` reads of them.
    """
    names = pl.Series([split for split, examples in splits.items() for _ in range(examples.frame.height)])
    frame = pl.concat([examples.frame for examples in splits.values()], how="diagonal_relaxed")
    assert config.examples is not None
    held = next((split for split in ("test", "valid") if split in splits), None)
    identity = [*behavior.key_columns(), behavior.log.timestamp, *_read(config.model or {})]
    return audit(
        behavior,
        None,
        frame,
        frame[config.examples.label],
        columns=columns,
        split=None if held is None else names == held,
        folds=names,
        identity=[name for name in dict.fromkeys(identity) if name in frame.columns],
    )


def print_audit(report: AuditReport) -> None:
    """Print the table of findings and the verdict."""
    said = str(report).splitlines()[0]
    if report.findings.is_empty():
        print_lines(said)
        return
    rows = [
        [
            finding["severity"],
            finding["check"],
            finding["column"] or "",
            "" if finding["rows"] is None else f"{finding['rows']:,}",
            *("" if finding[name] is None else f"{finding[name]:.4g}" for name in ("value", "reference")),
            finding["explanation"],
        ]
        for finding in report.findings.iter_rows(named=True)
    ]
    columns = ("severity", "check", "column", "rows", "value", "against", "explanation")
    print_table(columns, rows, said, texts=("severity", "check", "column", "explanation"))


def _read(model: Mapping[str, Any]) -> list[str]:
    """The columns of the examples that a model reads beside behaviour."""
    read = [*(model.get("text") or {}).values(), model.get("categorical") or (), model.get("numeric") or ()]
    return [name for names in read for name in ([names] if isinstance(names, str) else names)]
