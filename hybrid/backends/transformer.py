"""The transformer of a sentence-transformers model: taken out for export, and replaced by a session that runs the export.

Everything around it stays the model's own: tokenizer, longest input, prompts, pooling, dense layers, normalisation.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hybrid.backends.base import OpenExport
from hybrid.errors import EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

Run = Callable[[list[np.ndarray]], np.ndarray]
"""From the transformer's inputs, in order, to its token embeddings, float32 of shape (batch, tokens, width)."""

_OUTPUT = "last_hidden_state"
_EXAMPLE = ["red running shoes in size 42", "无线耳机"]  # two texts of unlike length, so that padding is traced too


class TokenEmbeddings(torch.nn.Module):
    """A transformer as exporters want it: tensors in by position, one tensor out.

    Parameters
    ----------
    model : SentenceTransformer
    name : str
        For messages.
    backend : str
        For messages.
    """

    def __init__(self, model: SentenceTransformer, name: str, backend: str) -> None:
        super().__init__()
        transformer = _transformer(model, name, backend)
        self.model = transformer.model.eval()
        self.example = _inputs(transformer)
        """What the transformer is called with for two texts, by name."""

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.example, tensors, strict=True)), return_dict=True)[_OUTPUT]


def with_session(model: SentenceTransformer, names: list[str], run: Run) -> OpenExport:
    """The model with a session in the place of its transformer, whose weights are let go."""
    transformer: Any = model[0]
    transformer.model = _Session(transformer.model.config, names, run)

    def encode(texts: list[str], *, prompt: str, batch_size: int) -> np.ndarray:
        vectors = model.encode(texts, prompt=prompt, batch_size=batch_size, show_progress_bar=False, device="cpu")
        return np.asarray(vectors, dtype=np.float32)

    return encode


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of exporters, which speak to those who write models."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class _Session(torch.nn.Module):
    def __init__(self, config: Any, names: list[str], run: Run) -> None:
        super().__init__()
        self.config = config
        self.device = torch.device("cpu")
        self.names = names
        self.run = run

    def forward(self, **inputs: Any) -> dict[str, torch.Tensor]:
        return {_OUTPUT: torch.from_numpy(self.run([inputs[name].numpy() for name in self.names]))}


class _Recorder(torch.nn.Module):
    """Keeps what it is called with; hooks would not see it, since sentence-transformers 6.2 calls ``forward`` itself."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.inputs: dict[str, torch.Tensor] = {}

    def forward(self, **inputs: Any) -> dict[str, torch.Tensor]:
        self.inputs = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        return {_OUTPUT: torch.zeros(1, 1, 1)}


def _transformer(model: SentenceTransformer, name: str, backend: str) -> Transformer:
    from sentence_transformers.base.modules import Transformer  # here: 5 s that nothing else needs

    first = model[0]
    if not isinstance(first, Transformer):
        raise EncoderError(
            f"backend={backend!r} runs transformers, but {name} begins with {type(first).__name__}: use backend='torch'"
        )
    text = first.modality_config.get("text", {})
    output = text.get("method_output_name")
    if text.get("method") != "forward" or output not in (_OUTPUT, [_OUTPUT], (_OUTPUT,)):
        raise EncoderError(
            f"backend={backend!r} gives the last hidden state of a transformer, but {name} reads "
            f"{output!r} of {text.get('method')!r}: use backend='torch'"
        )
    if getattr(first.model.config, "output_hidden_states", False):
        raise EncoderError(
            f"backend={backend!r} gives the last hidden state of a transformer, but {name} reads all its layers: "
            "use backend='torch'"
        )
    return first


def _inputs(transformer: Any) -> dict[str, torch.Tensor]:
    model = transformer.model
    recorder = _Recorder(model.config)
    transformer.model = recorder
    try:
        transformer(transformer.preprocess(_EXAMPLE))
    finally:
        transformer.model = model
    return recorder.inputs
