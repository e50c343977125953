"""The embeddings of an encoder's tokens, some of which are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TunedEmbeddings(nn.Module):
    """Embeddings as they are, and for some tokens a trained difference to them, which begins at zero.

    So a vocabulary of 250,000 tokens costs no more than those that the training rows have, and weight decay draws them back to what they
    were.

    Parameters
    ----------
    embeddings : torch.nn.Embedding
        Not changed.
    tokens : torch.Tensor of int64, shape (n_tokens,)
    """

    places: Tensor

    def __init__(self, embeddings: nn.Embedding, tokens: Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings
        places = torch.zeros(embeddings.num_embeddings, dtype=torch.int64, device=tokens.device)
        places[tokens] = torch.arange(1, len(tokens) + 1, device=tokens.device)
        self.register_buffer("places", places, persistent=False)
        width = embeddings.embedding_dim
        self.differences = nn.Parameter(torch.zeros(len(tokens) + 1, width, device=tokens.device))

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeddings, float32 of shape (\\*tokens.shape, width); the first difference, of all other tokens, stays zero."""
        embedded: Tensor = self.embeddings(tokens)
        return embedded + nn.functional.embedding(self.places[tokens], self.differences, padding_idx=0)

    @staticmethod
    def owns(name: str) -> bool:
        """Whether a weight of a network, by its name, is the differences."""
        return name.endswith(".differences")

    @staticmethod
    def spread(differences: Tensor, places: Tensor, n_tokens: int) -> Tensor:
        """The differences of some of ``n_tokens`` tokens, by their places among them, and zero for the others."""
        spread = torch.zeros(n_tokens + 1, differences.shape[1])
        spread[places + 1] = differences[1:]
        return spread
