"""OpenVINO, in single precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from hybrid.backends.agreement import Agreement
from hybrid.backends.base import Backend, OpenExport
from hybrid.backends.onnx import not_single_precision
from hybrid.backends.transformer import TokenEmbeddings, quiet, with_session
from hybrid.folder_model import load_folder
from hybrid.model_files import ModelFiles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_MODEL = "model.xml"
_INPUTS = "inputs.json"


class OpenVino(Backend):
    """A transformer in single precision, run by OpenVINO on the CPU."""

    name: ClassVar[str] = "openvino"
    extra: ClassVar[str] = "openvino"
    packages: ClassVar[tuple[str, ...]] = ("openvino",)
    dtype: ClassVar[str] = "float32"

    @property
    def recipe(self) -> list[str | int | float]:
        return [1]

    def export(self, model: SentenceTransformer, name: str, folder: Path) -> None:
        import openvino  # here: an extra

        module = TokenEmbeddings(model, name, self.name)
        with quiet():
            converted = openvino.convert_model(module, example_input=tuple(module.example.values()))
            converted.reshape({port: openvino.PartialShape([-1, -1]) for port in converted.inputs})
        openvino.save_model(converted, folder / _MODEL, compress_to_fp16=False)
        (folder / _INPUTS).write_text(json.dumps(list(module.example)), encoding="utf-8")

    def open(self, files: ModelFiles, folder: Path) -> OpenExport:
        import openvino  # here: an extra

        # OpenVINO computes in bfloat16 where a CPU has it, unless told otherwise.
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        request = openvino.Core().compile_model(folder / _MODEL, "CPU", options).create_infer_request()
        names = json.loads((folder / _INPUTS).read_text(encoding="utf-8"))

        def run(inputs: list[np.ndarray]) -> Any:
            return request.infer(dict(enumerate(inputs)))[0].copy()  # the next call writes into the same memory

        return with_session(load_folder(files, "cpu"), names, run)

    def refusal(self, agreement: Agreement) -> str | None:
        return not_single_precision(agreement)
