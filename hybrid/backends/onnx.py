"""ONNX Runtime, in single precision or with weights of 8 bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from hybrid.backends.agreement import Agreement
from hybrid.backends.base import Backend, OpenExport
from hybrid.backends.transformer import TokenEmbeddings, quiet, with_session
from hybrid.folder_model import load_folder
from hybrid.model_files import ModelFiles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_MODEL = "model.onnx"
_INPUTS = "inputs.json"
_LEAST_COSINE = 0.999  # single precision differs from torch by rounding only; less means a wrong export
_LEAST_MEAN_INT8 = 0.98


class Onnx(Backend):
    """A transformer in single precision, run by ONNX Runtime."""

    name: ClassVar[str] = "onnx"
    extra: ClassVar[str] = "onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx", "onnxscript")
    dtype: ClassVar[str] = "float32"

    @property
    def recipe(self) -> list[str | int | float]:
        return [1]

    def export(self, model: SentenceTransformer, name: str, folder: Path) -> None:
        module = TokenEmbeddings(model, name, self.name)
        names = list(module.example)
        axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        with quiet():
            torch.onnx.export(
                module,
                tuple(module.example.values()),
                folder / _MODEL,
                input_names=names,
                output_names=["token_embeddings"],
                dynamic_shapes=((axes,) * len(names),),
                dynamo=True,
                verbose=False,
            )
        (folder / _INPUTS).write_text(json.dumps(names), encoding="utf-8")

    def open(self, files: ModelFiles, folder: Path) -> OpenExport:
        import onnxruntime  # here: an extra

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # so that torch's and OMP's settings count here too
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(folder / _MODEL, options, providers=["CPUExecutionProvider"])
        names = json.loads((folder / _INPUTS).read_text(encoding="utf-8"))

        def run(inputs: list[np.ndarray]) -> Any:
            return session.run(None, dict(zip(names, inputs, strict=True)))[0]

        return with_session(load_folder(files, "cpu"), names, run)

    def refusal(self, agreement: Agreement) -> str | None:
        return not_single_precision(agreement)


class OnnxInt8(Onnx):
    """A transformer with weights of 8 bits and inputs of its matrix products rounded to 8 bits as they come."""

    name: ClassVar[str] = "onnx-int8"
    dtype: ClassVar[str] = "int8"

    @property
    def recipe(self) -> list[str | int | float]:
        return [1, "dynamic", "QInt8", "per channel"]

    def export(self, model: SentenceTransformer, name: str, folder: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic  # here: an extra

        full = folder / "float32"
        full.mkdir()
        super().export(model, name, full)
        with quiet():
            quantize_dynamic(full / _MODEL, folder / _MODEL, per_channel=True, weight_type=QuantType.QInt8)
        (full / _INPUTS).rename(folder / _INPUTS)
        for path in full.iterdir():
            path.unlink()
        full.rmdir()

    def refusal(self, agreement: Agreement) -> str | None:
        mean = agreement.mean_cosine
        if mean is not None and mean >= _LEAST_MEAN_INT8:
            return None
        return (
            f"its vectors of the probe texts have a mean cosine of {mean:.4f} with torch's, and {_LEAST_MEAN_INT8} is needed: "
            "this model does not bear 8 bits; use backend='openvino', 'onnx' or 'torch'"
        )


def not_single_precision(agreement: Agreement) -> str | None:
    """Why an export in single precision is wrong."""
    if agreement.least_cosine is not None and agreement.least_cosine >= _LEAST_COSINE:
        return None
    return (
        f"its vectors of the probe texts have a least cosine of {agreement.least_cosine:.4f} with torch's, and {_LEAST_COSINE} "
        "is needed: the exporter does not understand this model; use backend='torch'"
    )
