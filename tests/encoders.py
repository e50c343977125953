"""Small deterministic encoders for tests that need vectors but no model."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

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


def save_transformer(
    folder: Path,
    *,
    seed: int = 0,
    width: int = 32,
    dense: int | None = 24,
    pooling: str = "mean",
    family: str = "bert",
    prompts: dict[str, str] | None = None,
) -> Path:
    """A sentence-transformers model of random weights: two layers, words and Chinese characters, at most 64 tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, BertTokenizerFast, DistilBertConfig, DistilBertModel

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["red", "blue", "shoe", "shirt", "item", ":", "running", "##s", "a"],
        *"红色耳机无线",
    ]
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}, model_max_length=64)
    if family == "distilbert":
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    torch.manual_seed(seed)
    if family == "bert":
        model = BertModel(
            BertConfig(
                vocab_size=len(words),
                hidden_size=width,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
                max_position_embeddings=64,
                initializer_range=0.5,
            )
        )
    else:
        model = DistilBertModel(
            DistilBertConfig(
                vocab_size=len(words),
                dim=width,
                n_layers=2,
                n_heads=4,
                hidden_dim=64,
                max_position_embeddings=64,
                initializer_range=0.5,
            )
        )
    with tempfile.TemporaryDirectory() as bare:
        model.save_pretrained(bare)
        tokenizer.save_pretrained(bare)
        modules = [Transformer(bare), Pooling(width, pooling_mode=pooling)]
    if dense is not None:
        modules.append(Dense(width, dense))
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder))
    return folder
