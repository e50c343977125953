"""How the head enters the trees: as margin, as columns, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid.boosters import Booster
from hybrid.head.fitted import FittedHead, base_margin, margins
from hybrid.head.fitting import HeadFit
from hybrid.languages import Sentence, message
from hybrid.matrix import TEXT_HEAD, Column, FeatureMatrix
from hybrid.metrics import row_losses

Grow = Callable[[FeatureMatrix, np.ndarray, FeatureMatrix, np.ndarray], Booster]
"""Boosts a matrix with its labels, stopping on a second one."""

MOST_CLASSES = 16
_ROWS, _ENOUGH_ROWS = 20_000, 5_000
_FOLDS = 3
_CERTAIN = 2.0  # standard errors


@dataclass(frozen=True)
class HeadChoice:
    """How the head enters, and why.

    Parameters
    ----------
    mode : {"margin", "feature"} or None
    why : Sentence
    losses : mapping from mode ("none", "margin", "feature") to float
        Held-out log loss of trees; empty where nothing was compared. Of a way that left the comparison early it is the best way's, and the
        difference on the splits that both were on.
    """

    mode: str | None
    why: Sentence
    losses: Mapping[str, float]

    @property
    def reason(self) -> str:
        """Why, in the language of `hybrid.languages.speaking`."""
        return str(self.why)


NO_HEAD = HeadChoice(None, Sentence(message("the model declares none")), {})
AS_DECLARED = Sentence(message("as declared"))


def with_head(
    matrix: FeatureMatrix, logits: np.ndarray, head: FittedHead, mode: str | None, labels: np.ndarray
) -> FeatureMatrix:
    """The matrix with the head's logits: as the margin that trees start from, or as columns of the group "text head"."""
    if mode is None:
        return matrix
    if mode == "margin":
        return matrix.starting_from(base_margin(logits, head))
    names = ["text_head__logit"] if len(labels) == 2 else [f"text_head__{label}" for label in labels.tolist()]
    columns = tuple(Column(name, TEXT_HEAD) for name in names)
    return FeatureMatrix.join([matrix, FeatureMatrix(np.ascontiguousarray(margins(logits)), columns)])


def splits_to_compare(
    held: tuple[np.ndarray, np.ndarray] | None, codes: np.ndarray, folds: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and to compare on: those of ``hold_out`` where they are 5,000 or more, else three folds of the head.

    On fewer rows the difference between two ways is smaller than its noise. A fold that leaves a class out of either side is not used.
    """
    if held is not None and len(held[1]) >= _ENOUGH_ROWS:
        return [held]
    made = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)[:_FOLDS]]
    n_classes = len(np.unique(codes))
    return [split for split in made if all(len(np.unique(codes[rows])) == n_classes for rows in split)]


def choose(
    matrix: FeatureMatrix,
    fit: HeadFit,
    codes: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    grow: Grow,
    random_state: int,
) -> HeadChoice:
    """Compare the ways on rows held out, by the mean log loss of trees, 20,000 rows to learn from at most.

    A way that is worse than the best so far by more than two standard errors of their difference is not tried on further splits. A head
    that is no better out of fold than the classes' shares is left out at once. With more than 16 classes it is the margin: a tree a class
    and round, over a column a class, would cost too much to try.
    """
    if fit.loss >= fit.prior_loss:
        useless = message("out of fold its loss is {loss}, no better than the {shares} of the classes’ shares")
        return HeadChoice(None, Sentence(useless, {"loss": f"{fit.loss:.4f}", "shares": f"{fit.prior_loss:.4f}"}), {})
    if len(labels) > MOST_CLASSES:
        return HeadChoice("margin", Sentence(message("{n} classes are too many to compare"), {"n": len(labels)}), {})
    if not splits:
        return HeadChoice("margin", Sentence(message("there are too few rows to compare")), {})
    rng = np.random.default_rng(random_state)
    drawn = [[np.sort(rng.permutation(rows)[:_ROWS]) for rows in split] for split in splits]
    ways = {
        mode or "none": joined
        for mode in ("margin", "feature", None)
        if (joined := with_head(matrix, fit.logits, fit.head, mode, labels)).columns
    }
    of_rows: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    for train, held in drawn:
        for way in _in_the_race(of_rows):
            trees = grow(ways[way].rows(train), codes[train], ways[way].rows(held), codes[held])
            of_rows[way].append(row_losses(codes[held], trees.predict_proba(ways[way].rows(held))))
    losses = _mean_losses(of_rows)
    best = min(losses, key=lambda mode: losses[mode])
    compared = ", ".join(f"{mode} {loss:.4f}" for mode, loss in losses.items())
    return HeadChoice(
        None if best == "none" else best, Sentence(message("held-out log loss: {losses}"), {"losses": compared}), losses
    )


def _in_the_race(of_rows: Mapping[str, list[np.ndarray]]) -> list[str]:
    """The ways that may still be the best, of those that have been on all splits so far."""
    tried = max(map(len, of_rows.values()))
    running = {way: np.concatenate(losses) for way, losses in of_rows.items() if tried and len(losses) == tried}
    if not running:
        return list(of_rows)
    best = min(running.values(), key=np.mean)
    differences = {way: losses - best for way, losses in running.items()}
    return [way for way, d in differences.items() if d.mean() <= _CERTAIN * d.std() / len(d) ** 0.5]


def _mean_losses(of_rows: Mapping[str, list[np.ndarray]]) -> dict[str, float]:
    """The mean loss of each way; of one that left the race, its distance to the best on the splits that it was on."""
    tried = max(map(len, of_rows.values()))
    best = min((losses for losses in of_rows.values() if len(losses) == tried), key=lambda x: np.concatenate(x).mean())
    least = float(np.concatenate(best).mean())
    return {
        way: least + float(np.mean(np.concatenate(losses) - np.concatenate(best[: len(losses)])))
        for way, losses in of_rows.items()
    }
