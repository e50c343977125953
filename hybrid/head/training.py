"""Training of a text head: AdamW in epochs, and the temperature of its logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from hybrid.errors import TrainingError
from hybrid.head.network import HeadInputs, HeadNetwork

OnEpoch = Callable[[int, HeadNetwork], bool]
"""Called after each epoch with its number (from 0) and the network; True stops the training."""

_FEWEST_STEPS = 400
_MOST_EPOCHS = 40
_SEEN_ROWS = 150_000  # rows that pass through a network in a training, about
_CLIPPED_NORM = 1.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a head is trained.

    Parameters
    ----------
    epochs : int
    batch_rows : int
    learning_rate : float
        The highest: it rises over the first tenth of the steps and falls to zero by a cosine.
    weight_decay : float
    dropout : float
    """

    epochs: int
    batch_rows: int
    learning_rate: float
    weight_decay: float
    dropout: float

    @classmethod
    def of(cls, n_rows: int, *, learning_rate: float, weight_decay: float, dropout: float) -> Schedule:
        """Epochs and batches for so many rows: 150,000 rows seen, in 40 epochs at most but 400 steps at least."""
        batch_rows = 128 if n_rows < 10_000 else 256 if n_rows < 50_000 else 1_024
        steps = max(1, -(-n_rows // batch_rows))
        epochs = max(min(_MOST_EPOCHS, round(_SEEN_ROWS / n_rows)), -(-_FEWEST_STEPS // steps), 3)
        return cls(epochs, batch_rows, learning_rate, weight_decay, dropout)


def train(
    inputs: HeadInputs,
    codes: np.ndarray,
    weight: np.ndarray | None,
    rows: np.ndarray,
    *,
    n_classes: int,
    hidden: int,
    schedule: Schedule,
    random_state: int,
    on_epoch: OnEpoch,
) -> None:
    """Train a network on some rows, cross-entropy weighted by ``weight``.

    Raises
    ------
    TrainingError
        The loss is no longer a finite number.
    """
    generator = torch.Generator().manual_seed(random_state)
    places = torch.from_numpy(rows)
    targets = torch.from_numpy(codes[rows]).to(inputs.device)
    of_rows = None if weight is None else torch.from_numpy(weight[rows]).float().to(inputs.device)
    prior = np.bincount(codes[rows], weights=None if weight is None else weight[rows], minlength=n_classes) + 1.0
    network = HeadNetwork.start(inputs, places, prior / prior.sum(), hidden, generator)
    for tensor in network.trained:
        tensor.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        network.trained, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    steps = schedule.epochs * -(-len(rows) // schedule.batch_rows)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.learning_rate, total_steps=steps, pct_start=0.1)
    for epoch in range(schedule.epochs):
        for step, batch in enumerate(torch.randperm(len(rows), generator=generator).split(schedule.batch_rows)):
            logits = network.logits(inputs.rows(places[batch]), schedule.dropout, generator)
            batch = batch.to(inputs.device)
            loss = batch_loss(logits, targets, of_rows, batch)
            require_finite(loss, step, epoch, schedule.learning_rate, of_rows)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.trained, _CLIPPED_NORM)
            optimizer.step()
            rate.step()
        if on_epoch(epoch, network):
            return


def batch_loss(
    logits: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None, batch: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy of a batch of rows, each weighing its weight over the mean weight of all rows."""
    losses = torch.nn.functional.cross_entropy(logits, targets[batch], reduction="none")
    return losses.mean() if weight is None else (losses * weight[batch]).mean() / weight.mean()


def tempered_loss(logits: np.ndarray, codes: np.ndarray, weight: np.ndarray | None) -> tuple[float, float]:
    """The least log loss that one temperature gives, and that temperature.

    Logits are divided by it; found between 0.05 and 20 (Guo et al., "On Calibration of Modern Neural Networks", 2017).
    """
    logits = logits.astype(np.float64)
    rows = np.arange(len(codes))

    def loss(log_temperature: float) -> float:
        losses = -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, codes]
        return float(np.average(losses, weights=weight))

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded", options={"xatol": 1e-3})
    return float(found.fun), float(np.exp(found.x))


def scaled_loss(
    parts: Sequence[np.ndarray], codes: np.ndarray, weight: np.ndarray | None
) -> tuple[float, tuple[float, ...]]:
    """The least log loss of a sum of logits, each of a scale of its own that is not negative, and these scales.

    Of one part: ``tempered_loss``. Of more: stacked regression with non-negative weights (Breiman, "Stacked regressions", 1996), to which
    the bound of 20 for a scale applies, too. The loss is convex in the scales.
    """
    if len(parts) == 1:
        loss, temperature = tempered_loss(parts[0], codes, weight)
        return loss, (1 / temperature,)
    stacked = np.stack(parts).astype(np.float64)
    rows = np.arange(len(codes))
    shares = np.full(len(codes), 1 / len(codes)) if weight is None else weight / weight.sum()
    of_class = stacked[:, rows, codes]

    def loss_and_slopes(scales: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.tensordot(scales, stacked, axes=1)
        proba = softmax(logits, axis=1)
        slopes = (np.einsum("prc,rc->pr", stacked, proba) - of_class) @ shares
        return float(-(np.log(np.maximum(proba[rows, codes], 1e-300)) @ shares)), slopes

    start = np.full(len(parts), 1 / len(parts))
    found = minimize(loss_and_slopes, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 20.0)] * len(parts))
    return float(found.fun), tuple(found.x.tolist())


def require_finite(
    loss: torch.Tensor, step: int, epoch: int, learning_rate: float, weight: torch.Tensor | None
) -> None:
    """Raise TrainingError, with the step and the likely cause, where a loss is no longer a finite number."""
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss of the text head is {loss.item()} at step {step + 1} of epoch {epoch + 1}: the learning rate "
            f"{learning_rate} may be too high, or a sample weight too large ({_largest(weight)})"
        )


def _largest(weight: torch.Tensor | None) -> str:
    return "none is given" if weight is None else f"the largest is {weight.max().item():.3g}"
