"""An embedding store filled with the texts of a TOML file, ahead of the verbs that read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from features.frames import require_columns
from hybrid import EmbeddingStore
from hybrid.store import StoreKey
from hybrid.texts import role_columns, role_text
from intentree.config import Config
from intentree.errors import ConfigError
from intentree.inputs import declared_encoder, read_events, read_examples
from intentree.progress import Progress


@dataclass(frozen=True)
class Warmed:
    """What warming found and did.

    Parameters
    ----------
    texts : mapping from role to int
        Distinct texts.
    added : mapping from role to int
        Those of them that the store did not hold.
    dimension : int
        Numbers in a vector.
    store : EmbeddingStore
    """

    texts: dict[str, int]
    added: dict[str, int]
    dimension: int
    store: EmbeddingStore


def warm(config: Config, progress: Progress) -> Warmed:
    """Encode every text that `fit`, `tune` and `report` will ask for, those in the store excepted."""
    texts = _texts(config)
    encoder = declared_encoder(config)
    if encoder.store is None:
        raise ConfigError("[encoder] store = false: there is no store to fill")
    declared = encoder.store if isinstance(encoder.store, EmbeddingStore) else EmbeddingStore()
    store = encoder.store = _CountingStore(declared.folder, max_bytes=declared.max_bytes)
    device = (config.model or {}).get("device", "auto")
    added = {}
    for role, distinct in texts.items():
        before = store.added
        report = partial(progress, f"encode {role}")
        encoder.encode_distinct(distinct, role=role, device=device, progress=report)
        added[role] = store.added - before
    return Warmed({role: len(distinct) for role, distinct in texts.items()}, added, encoder.dimension, declared)


class _CountingStore(EmbeddingStore):
    """A store that counts what is put into it."""

    added = 0

    def put(self, key: StoreKey, texts: Sequence[str], vectors: np.ndarray) -> None:
        super().put(key, texts, vectors)
        self.added += len(texts)


def _texts(config: Config) -> dict[str, pl.Series]:
    """Distinct texts of each role: of all examples, and of the log's items where recent interest reads them."""
    config.require("examples", "model")
    model = config.model or {}
    roles = role_columns(model.get("text") or {})
    if not roles:
        raise ConfigError("[model] declares no text to encode")
    found: dict[str, list[pl.Series]] = {role: [] for role in roles}
    for split in ("train", "valid", "test"):
        examples = read_examples(config, split)
        if examples is None:
            continue
        for role, columns in roles.items():
            found[role].append(role_text(examples.frame, columns, f"{split} examples"))
    reads_log = (model.get("text_channels") or {}).get("recent_interest") and "item" in roles
    events = read_events(config) if reads_log else None
    if events is not None:
        require_columns(events, roles["item"], "events")
        found["item"].append(role_text(events, roles["item"], "events"))
    return {role: pl.concat(series).drop_nulls().unique(maintain_order=True) for role, series in found.items()}
