"""Duplicates: an example must not lie in two folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from features.leaks.finding import Finding

_SHOWN = 3


def findings(
    examples: pl.DataFrame, identity: Sequence[str], keys: Sequence[str], folds: pl.Series
) -> Iterator[Finding]:
    """Evidence where examples that agree in all columns of ``identity`` lie in different folds.

    Examples without a fold take no part, nor do those with a null in a key: two unknown users are not the same one.
    """
    compared = (
        examples.select(identity).with_columns(folds.alias("__fold")).with_row_index("__row")
        .drop_nulls(["__fold", *(name for name in keys if name in identity)])
    )  # fmt: skip
    alike = (
        compared.group_by(identity, maintain_order=True)
        .agg("__row", pl.col("__fold").unique(maintain_order=True))
        .filter(pl.col("__fold").list.len() > 1)
    )
    if alike.height:
        rows = int(alike["__row"].list.len().sum())
        told = [
            f"rows {', '.join(map(str, row['__row'][:_SHOWN]))} in folds {', '.join(map(str, row['__fold'][:_SHOWN]))}"
            for row in alike.head(_SHOWN).iter_rows(named=True)
        ]
        yield Finding(
            "duplicates",
            "evidence",
            f"{alike.height:,} examples lie in several folds, equal in {', '.join(identity)}: {'; '.join(told)}",
            None,
            rows,
            float(alike.height),
            0.0,
        )
