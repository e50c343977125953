"""Small deterministic encoders for tests that need vectors but no model."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+")


class HashEncoder:
    """Sums of 16 random numbers per word, drawn from the word's hash: texts that share words are alike.

    Parameters
    ----------
    stall_after : int, optional
        Encode about this many texts, then print "stalled" and hang: for tests that kill a process half-way.
    """

    dimension = 16

    def __init__(self, stall_after: int | None = None) -> None:
        self.stall_after = stall_after
        self.texts: list[str] = []
        """Every text that was encoded, in order."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if self.stall_after is not None and len(self.texts) >= self.stall_after:
            print("stalled", flush=True)
            time.sleep(600)
        self.texts.extend(texts)
        return np.stack([_text_vector(text) for text in texts]).astype(np.float32)


def _text_vector(text: str) -> np.ndarray:
    return sum((_word_vector(word) for word in _WORD.findall(text.lower())), np.zeros(HashEncoder.dimension))


@lru_cache(maxsize=100_000)
def _word_vector(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).standard_normal(HashEncoder.dimension)
