"""Which weights of a model are trained: all, those above frozen layers, or low-rank adapters that are merged afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch import nn

from hybrid.errors import ParameterError

if TYPE_CHECKING:
    from peft import LoraModel


def freeze_layers(model: SentenceTransformer, n_layers: int) -> None:
    """Keep the embeddings and the first ``n_layers`` layers as they are."""
    backbone = require_transformer(model, "freeze").auto_model
    name, layers = _layers(backbone)
    if n_layers >= max(len(layers), 1):
        raise ParameterError(
            f"freeze={n_layers}, but the model has {len(layers)} layers: at least one must be left to train"
        )
    frozen = tuple(f"{name}.{number}." for number in range(n_layers))
    for parameter_name, parameter in backbone.named_parameters():
        if parameter_name.startswith(frozen) or (
            not parameter_name.startswith(f"{name}.") and "embed" in parameter_name
        ):
            parameter.requires_grad_(False)


def train_upper_layers(model: SentenceTransformer, n_layers: int, parameter: str) -> None:
    """Train the last ``n_layers`` layers and nothing else; ParameterError that names ``parameter`` if there are fewer."""
    backbone = require_transformer(model, parameter).auto_model
    layers = _layers(backbone)[1]
    if n_layers > len(layers):
        raise ParameterError(f"{parameter}={n_layers}, but the model has {len(layers)} layers")
    backbone.requires_grad_(False)
    layers[len(layers) - n_layers :].requires_grad_(True)


def add_adapters(model: SentenceTransformer, rank: int) -> LoraModel:
    """Train low-rank additions to the linear maps of all layers that are not frozen, and nothing else (LoRA, Hu et al. 2021).

    ``merge_and_unload()`` of what is returned adds them to the weights; then the model is of its own kind again.
    """
    from peft import LoraConfig, LoraModel  # here: 2 s, and only adapters need it

    backbone = require_transformer(model, "lora").auto_model
    targets = [
        name
        for name, part in backbone.named_modules()
        if isinstance(part, nn.Linear) and "pooler" not in name and part.weight.requires_grad
    ]
    # alpha = 2 * rank is the scale of peft's own examples.
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, lora_dropout=0.0)
    return LoraModel(backbone, config, "adapter")


def require_transformer(model: SentenceTransformer, parameter: str) -> Transformer:
    """The model's transformer; ParameterError that names ``parameter`` if it has none."""
    first = model[0]
    if not isinstance(first, Transformer):
        raise ParameterError(f"{parameter} needs a transformer, and the model begins with {type(first).__name__}")
    return first


def _layers(backbone: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of a transformer's layers, and its name: the longest list of modules that it has."""
    return max(
        ((name, part) for name, part in backbone.named_modules() if isinstance(part, nn.ModuleList)),
        key=lambda named: len(named[1]),
        default=("", nn.ModuleList()),
    )
