"""A trained text head, as new rows meet it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hybrid.encoded_texts import EncodedTexts
from hybrid.encoder import Embedded
from hybrid.head.network import HeadInputs, HeadNetwork
from hybrid.head.tuned import TunedHead
from hybrid.head.wide import WideModel
from hybrid.head.words import WordVectors, of_distinct
from hybrid.matrix import BaseMargin


@dataclass(frozen=True)
class FittedHead:
    """A trained head: the mean of the networks of all folds, of their wide models and of their tuned layers.

    Parameters
    ----------
    roles : tuple of str
    words : WordVectors or None
    networks : tuple of HeadNetwork
    scale : float
        What the mean of their logits is multiplied by: where there is nothing else, one by the temperature.
    wide : WideModel or None
        Its logits are scaled already.
    tuned : TunedHead or None
    tuned_scale : float
        What its logits are multiplied by.
    mean : numpy.ndarray of float32, shape (n_margins,)
        The mean margin of the training rows: what the head's contribution to a score is measured from.
    """

    roles: tuple[str, ...]
    words: WordVectors | None
    networks: tuple[HeadNetwork, ...]
    scale: float
    wide: WideModel | None
    tuned: TunedHead | None
    tuned_scale: float
    mean: np.ndarray

    def logits(self, encoded: EncodedTexts) -> np.ndarray:
        """Logits of each row, float32 of shape (n_rows, n_classes); each row's sum to 0."""
        wide = 0.0
        if self.wide is None:
            inputs = HeadInputs(sides(self.roles, self.words, encoded))
        else:
            (role,) = self.roles
            embedded, texts = encoded.embedded[role], encoded.texts[role]
            distinct, index, _ = of_distinct(embedded, texts)
            if self.words is None:
                wide = self.wide.logits(distinct)[index]
            else:  # n-grams are counted once for both
                weighted = self.words.ngrams.weigh_all(distinct)
                embedded = self.words.beside(embedded, texts, self.words.of_weighted(weighted))
                wide = self.wide.of_weighted(weighted, self.words.ngrams)[index]
            inputs = HeadInputs([embedded])
        logits = np.mean([network.predict(inputs) for network in self.networks], axis=0) * np.float32(self.scale) + wide
        if self.tuned is not None:
            logits += self.tuned.logits(encoded, inputs.device) * np.float32(self.tuned_scale)
        return centred(logits)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state, for an artifact."""
        tensors = {
            f"network {number}/{name}": weight.detach().cpu()
            for number, network in enumerate(self.networks)
            for name, weight in network.weights.items()
        }
        for part, model in (("words", self.words), ("wide", self.wide), ("tuned", self.tuned)):
            if model is not None:
                tensors |= {
                    f"{part}/{name}": tensor.clone() for name, tensor in model.tensors().items()
                }  # no shared idf
        scales = {"scale": torch.tensor([self.scale]), "tuned_scale": torch.tensor([self.tuned_scale])}
        return tensors | scales | {"mean": torch.from_numpy(self.mean)}

    @classmethod
    def restore(cls, roles: Sequence[str], tensors: Mapping[str, torch.Tensor], device: str) -> FittedHead:
        """The inverse of ``tensors``."""
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for path, tensor in tensors.items():
            part, _, name = path.rpartition("/")  # names of weights have dots
            parts.setdefault(part, {})[name] = tensor
        networks = sorted((part for part in parts if part.startswith("network")), key=lambda part: int(part.split()[1]))
        return cls(
            roles=tuple(roles),
            words=WordVectors.restore(parts["words"]) if "words" in parts else None,
            networks=tuple(
                HeadNetwork({name: tensor.to(device) for name, tensor in parts[part].items()}) for part in networks
            ),
            scale=float(tensors["scale"]),
            wide=WideModel.restore(parts["wide"]) if "wide" in parts else None,
            tuned=TunedHead.restore(roles, parts["tuned"]) if "tuned" in parts else None,
            tuned_scale=float(tensors["tuned_scale"]),
            mean=tensors["mean"].numpy(),
        )


def margins(logits: np.ndarray) -> np.ndarray:
    """Logits as the margins of trees, float32 of shape (n_rows, n_margins): for two classes the second's less the first's."""
    return logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits


def base_margin(logits: np.ndarray, head: FittedHead) -> BaseMargin:
    """Logits as the margin that trees start from."""
    return BaseMargin(np.ascontiguousarray(margins(logits)), head.mean)


def sides(roles: Sequence[str], words: WordVectors | None, encoded: EncodedTexts) -> list[Embedded]:
    """The vectors of each text, word vectors beside them where there are any."""
    if words is None:
        return [encoded.embedded[role] for role in roles]
    return [words.beside(encoded.embedded[role], encoded.texts[role]) for role in roles]


def centred(logits: np.ndarray) -> np.ndarray:
    """Logits whose sum is 0 in each row."""
    return logits - logits.mean(axis=1, keepdims=True)
