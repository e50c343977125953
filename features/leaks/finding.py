"""What a check of the audit found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

Severity = Literal["evidence", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("evidence", "warning", "note")
SCHEMA: dict[str, Any] = {
    "check": pl.String,
    "column": pl.String,
    "severity": pl.Enum(SEVERITIES),
    "rows": pl.Int64,
    "value": pl.Float64,
    "reference": pl.Float64,
    "explanation": pl.String,
}


@dataclass(frozen=True)
class Finding:
    """One row of the table of findings.

    Parameters
    ----------
    check : str
        The check that found it.
    severity : {"evidence", "warning", "note"}
    explanation : str
        What was seen, in words.
    column : str, optional
        None where it concerns the rows or the log.
    rows : int, optional
        How many examples are affected.
    value, reference : float, optional
        What was measured, and what it was held against.
    """

    check: str
    severity: Severity
    explanation: str
    column: str | None = None
    rows: int | None = None
    value: float | None = None
    reference: float | None = None


def table(findings: Sequence[Finding]) -> pl.DataFrame:
    """Findings as a frame of ``SCHEMA``, evidence first; within a severity in the order of the checks."""
    ordered = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
    rows = [{name: getattr(finding, name) for name in SCHEMA} for finding in ordered]
    return pl.DataFrame(rows, schema=SCHEMA)
