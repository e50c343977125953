"""A model distilled by model2vec into one vector a token: a text's vector is their weighted mean."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hybrid.backends.agreement import Agreement
from hybrid.backends.base import Backend, OpenExport
from hybrid.backends.transformer import TokenEmbeddings, quiet
from hybrid.errors import EncoderError
from hybrid.model_files import ModelFiles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_DIMENSIONS = 256  # model2vec's own choice
_BATCH = 1024  # look-ups need little memory, whatever batch suits a transformer


class Static(Backend):
    """Vectors of tokens in a space of their own: much faster, and blind to the order of words."""

    name: ClassVar[str] = "static"
    extra: ClassVar[str] = "static"
    packages: ClassVar[tuple[str, ...]] = ("model2vec", "skeletoken")
    dtype: ClassVar[str] = "float32"
    keeps_space: ClassVar[bool] = False
    keeps_prompts: ClassVar[bool] = False  # they would shift every vector, by more the shorter the text

    @property
    def recipe(self) -> list[str | int | float]:
        return [1, _DIMENSIONS, version("model2vec")]  # another version may weigh tokens otherwise

    def export(self, model: SentenceTransformer, name: str, folder: Path) -> None:
        from model2vec.distill import distill_from_model  # here: an extra

        transformer: Any = TokenEmbeddings(model, name, self.name).model
        tokenizer = model.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise EncoderError(
                f"backend='static' needs a fast tokenizer, and {name} has a {type(tokenizer).__name__}: use backend='torch'"
            )
        with quiet():
            distilled = distill_from_model(
                transformer, tokenizer, device="cpu", pca_dims=_DIMENSIONS, quantize_to="float32"
            )
        distilled.save_pretrained(folder)

    def open(self, files: ModelFiles, folder: Path) -> OpenExport:
        from model2vec import StaticModel  # here: an extra

        model = StaticModel.from_pretrained(folder)

        def encode(texts: list[str], *, prompt: str, batch_size: int) -> np.ndarray:
            prompted = [prompt + text for text in texts] if prompt else texts
            return model.encode(prompted, batch_size=_BATCH, max_length=None, use_multiprocessing=False)

        return encode

    def refusal(self, agreement: Agreement) -> str | None:
        return None
