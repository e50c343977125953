"""What fine-tuning came to: the encoder, and whether it is better than before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hybrid.encoder import TextEncoder


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned encoder.

    Parameters
    ----------
    folder : pathlib.Path
        Holds the encoder, and ``finetuning.json``: what it was made from and these numbers.
    encoder : TextEncoder
        Of the folder, with the prompts, ``dim``, device, batch size and store of the encoder that it was made from.
    metric : {"ndcg@10", "mrr@10"}
        Mean over held-out queries: nDCG@10 among a query's own candidates where labels say which are better, else the reciprocal rank of
        the first positive among all items, at most 5,000, 0 below rank 10.
    n_queries : int
        Held-out queries that it is a mean over.
    before, after : float
        Of the encoder as it was, and of the one in the folder. Equal where no evaluation was better than before: then the folder holds
        the encoder as it was. ``after`` is the best of several evaluations on the same queries, and so a little flattered.
    gain_interval : tuple of two float
        95 % interval of ``after - before``, by resampling queries.
    evaluations : polars.DataFrame
        While training: ``step``, ``epoch``, ``loss`` (mean since the evaluation before) and ``value`` of the metric.
    """

    folder: Path
    encoder: TextEncoder
    metric: str
    n_queries: int
    before: float
    after: float
    gain_interval: tuple[float, float]
    evaluations: pl.DataFrame

    @property
    def improved(self) -> bool:
        """Whether the encoder in the folder ranks held-out queries better than the one it was made from."""
        return self.after > self.before

    @property
    def verdict(self) -> str:
        """One line: the metric before and after; where it is no better, the likely reason and what to try."""
        of = f"{self.metric} of {self.n_queries:,} held-out queries: {self.before:.4f} before"
        if not self.improved:
            best = max(self.evaluations["value"].to_list())
            return f"{of}, {best:.4f} at best: no better, so the folder holds the encoder as it was. {self._why()}"
        low, high = self.gain_interval
        doubt = "; the interval includes no gain" if low <= 0 else ""
        return f"{of}, {self.after:.4f} after, {self.after - self.before:+.4f} ({low:+.4f} to {high:+.4f}){doubt}"

    def _why(self) -> str:
        first, last = self.evaluations["loss"][0], self.evaluations["loss"][-1]
        losses = f"the training loss went from {first:.3f} to {last:.3f}"
        if self.before > 0.99:
            return "There was next to nothing to gain."
        if self.evaluations.height == 1 or last > 0.95 * first:
            return f"Little was learned ({losses}): try a higher learning_rate, more epochs or more pairs."
        return (
            f"The pairs were learned ({losses}), and did not help on other queries: try a lower learning_rate, freeze, fewer epochs, "
            "or cleaner pairs."
        )
