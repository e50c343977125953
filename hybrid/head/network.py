"""The network of a text head: one hidden layer, or none, over one text's vector or over those of a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hybrid.encoder import Embedded

_SCALE_ROWS = 10_000  # rows that means and deviations of the inputs are taken from
_FEWEST_DEVIATION = 1e-3
_PREDICT_ROWS = 4_096


class HeadInputs:
    """What a head reads of each row: the vector of its text, or ``[q, t, q * t, |q - t|]`` for a pair of texts.

    Parameters
    ----------
    embedded : sequence of Embedded, one or two
        Vectors of the distinct texts of each role, and each row's index into them.
    """

    def __init__(self, embedded: Sequence[Embedded]) -> None:
        self._vectors = [one.vectors for one in embedded]
        self._index = [torch.from_numpy(one.index) for one in embedded]

    def __len__(self) -> int:
        return len(self._index[0])

    @property
    def device(self) -> torch.device:
        """Where the vectors lie."""
        return self._vectors[0].device

    @property
    def width(self) -> int:
        """Numbers a row."""
        return sum(vectors.shape[1] for vectors in self._vectors) * len(self._vectors)

    def rows(self, rows: Tensor) -> Tensor:
        """Inputs of some rows, float32 of shape (n, width)."""
        sides = [
            vectors[index[rows].to(vectors.device)] for vectors, index in zip(self._vectors, self._index, strict=True)
        ]
        if len(sides) == 1:
            return sides[0]
        first, second = sides
        return torch.cat([first, second, first * second, (first - second).abs()], dim=1)


class HeadNetwork:
    """Standardised inputs, dropout, a hidden layer with GELU, dropout, logits; without ``hidden`` the logits at once.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        ``mean`` and ``scale`` of the inputs, ``w1``, ``b1`` and, with a hidden layer, ``w2``, ``b2``.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = dict(weights)

    @classmethod
    def start(
        cls, inputs: HeadInputs, rows: Tensor, prior: np.ndarray, hidden: int, generator: torch.Generator
    ) -> HeadNetwork:
        """Untrained: inputs scaled as in ``rows``, small random weights, and a bias that gives each class its share."""
        sample = inputs.rows(rows[torch.randperm(len(rows), generator=generator)[:_SCALE_ROWS]])
        weights = {"mean": sample.mean(dim=0), "scale": sample.std(dim=0, correction=0).clamp_min(_FEWEST_DEVIATION)}
        bias = torch.from_numpy(np.log(prior)).float().to(inputs.device)
        sizes = [inputs.width, hidden, len(prior)] if hidden else [inputs.width, len(prior)]
        for layer in range(1, len(sizes)):
            fan_in, fan_out = sizes[layer - 1 : layer + 1]
            drawn = (2 * torch.rand((fan_in, fan_out), generator=generator) - 1) / fan_in**0.5
            weights[f"w{layer}"] = drawn.to(inputs.device)
            last = layer == len(sizes) - 1
            weights[f"b{layer}"] = bias.clone() if last else torch.zeros(fan_out, device=inputs.device)
        return cls(weights)

    @property
    def trained(self) -> list[Tensor]:
        """The weights that training changes."""
        return [weight for name, weight in self.weights.items() if name not in ("mean", "scale")]

    def logits(self, inputs: Tensor, dropout: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Logits, float32 of shape (n, n_classes).

        With ``dropout`` a batch goes through some of the inputs and some of the hidden units, the same for all its rows, so that a step
        computes the remaining part of each product only (Graham et al., "Efficient batchwise dropout training using submatrices", 2015).
        """
        weights = self.weights
        if generator is None or not dropout:
            x = (inputs - weights["mean"]).div_(weights["scale"]) @ weights["w1"] + weights["b1"]
            return x if "w2" not in weights else torch.nn.functional.gelu(x) @ weights["w2"] + weights["b2"]
        read, raised = _kept(inputs.shape[1], dropout, generator, inputs.device)
        x = (inputs.index_select(1, read) - weights["mean"][read]).div_(weights["scale"][read] / raised)
        w1 = weights["w1"].index_select(0, read)
        if "w2" not in weights:
            return x @ w1 + weights["b1"]
        units, raised = _kept(w1.shape[1], dropout, generator, inputs.device)
        x = torch.nn.functional.gelu(x @ w1.index_select(1, units) + weights["b1"][units])
        return (x * raised) @ weights["w2"].index_select(0, units) + weights["b2"]

    @torch.no_grad()
    def predict(self, inputs: HeadInputs, rows: np.ndarray | None = None) -> np.ndarray:
        """Logits of some rows, or of all, on the host: float32 of shape (n_rows, n_classes)."""
        asked = torch.arange(len(inputs)) if rows is None else torch.from_numpy(rows)
        found = [self.logits(inputs.rows(part)).cpu() for part in asked.split(_PREDICT_ROWS)]
        return torch.cat(found).numpy() if found else np.zeros((0, self.trained[-1].shape[0]), dtype=np.float32)

    def copy(self) -> HeadNetwork:
        """The network as it is now."""
        return HeadNetwork({name: weight.detach().clone() for name, weight in self.weights.items()})


def _kept(n: int, dropout: float, generator: torch.Generator, device: torch.device) -> tuple[Tensor, float]:
    """Which of ``n`` values a batch keeps, at least one, and what they are multiplied by.

    Drawn with a generator of its own, so that training is the same whatever else draws random numbers.
    """
    kept = max(1, round(n * (1 - dropout)))
    return torch.randperm(n, generator=generator)[:kept].to(device), n / kept
