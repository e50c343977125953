"""Other ways to compute a model's vectors than torch: exported once, kept in the user's cache, run on the CPU."""

from __future__ import annotations

from hybrid.backends.base import Backend
from hybrid.backends.onnx import Onnx, OnnxInt8
from hybrid.backends.openvino import OpenVino
from hybrid.backends.static import Static

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (Onnx(), OnnxInt8(), OpenVino(), Static())}
"""By the name that ``TextEncoder(backend=...)`` knows them by."""

__all__ = ["BACKENDS", "Backend"]
