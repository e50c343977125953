"""A model while it is adapted: set up, trained, put back to its best state, saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from sentence_transformers.base.modules import Transformer

from hybrid.builder import Progress
from hybrid.encoder import TextEncoder
from hybrid.errors import EncoderError, ParameterError, TrainingError
from hybrid.finetuning.evaluation import HeldOut
from hybrid.finetuning.layers import add_adapters, freeze_layers, require_transformer
from hybrid.finetuning.settings import Settings
from hybrid.finetuning.trainer import Trained, load_weights, train
from hybrid.folder_model import load_folder, quiet_transformers
from hybrid.randomness import own_randomness

if TYPE_CHECKING:
    from peft import LoraModel


class Adaptation:
    """A model that is being adapted.

    Parameters
    ----------
    encoder : TextEncoder
        Says which model, and how its vectors are used: prompts and ``dim``.
    settings : Settings
    device : str
    """

    def __init__(self, encoder: TextEncoder, settings: Settings, device: str) -> None:
        self._files = encoder.files
        self._settings = settings
        self._device = device
        self._dim = encoder.dim
        self._prompts = {
            side: encoder.prompt(role) for side, role in zip(("anchor", "item"), settings.roles, strict=True)
        }
        self._all_prompts = dict(encoder.prompts_in_use)
        self._batch_size = encoder.batch_size
        self._model = load_folder(self._files, device)
        self._tokens = self._model.max_seq_length if isinstance(self._model[0], Transformer) else None
        self._adapters: LoraModel | None = None
        self._trained: Trained | None = None
        self._set_up()

    def values(self, held_out: HeldOut) -> np.ndarray:
        """The metric of each held-out query."""
        return held_out.values(self._encode)

    def train(self, rows: pl.DataFrame, held_out: HeldOut, folder: Path, progress: Progress | None) -> pl.DataFrame:
        """Train, or go on from the checkpoints in ``folder``; the evaluations on the way."""
        prompts = {
            name: self._prompts["anchor" if name == "anchor" else "item"] for name in rows.columns if name != "label"
        }
        said = {name: prompt for name, prompt in prompts.items() if prompt}
        self._limit_tokens(self._settings.max_tokens)
        with quiet_transformers(), own_randomness(self._settings.random_state):
            self._trained = train(
                self._model, rows, held_out, self._encode, self._settings, said, self._device, folder, progress
            )
        return self._trained.evaluations

    def keep_best(self, before: float) -> bool:
        """Put the model into the state of its best evaluation, or back to what it was if none is above ``before``."""
        assert self._trained is not None
        improved = bool((self._trained.evaluations["value"] > before).any())
        if not improved:
            self._model = load_folder(self._files, self._device)
            return False
        load_weights(self._model, self._trained.weights)
        if self._adapters is not None:
            self._adapters.merge_and_unload()
        return True

    def save(self, folder: Path) -> None:
        """Write the model as sentence-transformers does, with its prompts: the folder's name tells of no family any more."""
        self._limit_tokens(None)
        self._model.prompts = dict[str, str | None](self._all_prompts)
        with quiet_transformers():
            self._model.save_pretrained(str(folder), create_model_card=False)

    def _set_up(self) -> None:
        settings, width = self._settings, self._model.get_embedding_dimension()
        assert width is not None
        too_wide = [dim for dim in settings.matryoshka if dim > width]
        if too_wide:
            raise ParameterError(f"matryoshka has {too_wide[0]}, but the model has {width} dimensions")
        if self._dim is not None and self._dim > width:
            raise EncoderError(f"dim={self._dim}, but {self._files.name} has {width} dimensions")
        if settings.mini_batch_size is not None:
            require_transformer(self._model, "mini_batch_size")
        if settings.freeze is not None:
            freeze_layers(self._model, settings.freeze)
        if settings.lora is not None:
            with own_randomness(settings.random_state):
                self._adapters = add_adapters(self._model, settings.lora)

    def _encode(self, texts: list[str], side: Literal["anchor", "item"]) -> np.ndarray:
        """Unit vectors as a TextEncoder gives them, whole texts too; the limit for training holds again afterwards."""
        limit = self._model.max_seq_length
        self._limit_tokens(None)
        vectors = self._model.encode(
            texts,
            prompt=self._prompts[side],
            batch_size=self._batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
        )[:, : self._dim]
        self._limit_tokens(limit)
        if not np.isfinite(vectors).all():
            raise TrainingError(
                f"the model gives NaN or infinite vectors to {int((~np.isfinite(vectors).all(axis=1)).sum()):,} of {len(texts):,} texts: "
                f"the learning rate of {self._settings.learning_rate} is likely too high; try a tenth of it"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1.0)

    def _limit_tokens(self, limit: int | None) -> None:
        if self._tokens is not None:
            self._model.max_seq_length = self._tokens if limit is None else min(limit, self._tokens)
