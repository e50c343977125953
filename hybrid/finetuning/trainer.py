"""The training loop: sentence-transformers' own, with checkpoints of what is trained, and no NaN let through."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from torch import nn
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from hybrid.builder import Progress
from hybrid.errors import TrainingError
from hybrid.finetuning.evaluation import Encode, HeldOut
from hybrid.finetuning.settings import GRADES, Settings

_WARMUP = 0.1  # share of all steps in which the learning rate rises, as in sentence-transformers' examples
_WEIGHTS = "trained.safetensors"


@dataclass(frozen=True)
class Trained:
    """What training came to.

    Parameters
    ----------
    evaluations : polars.DataFrame
        ``step``, ``epoch``, ``loss`` (mean since the evaluation before) and ``value`` (of the metric).
    weights : pathlib.Path
        The trained weights of the best evaluation.
    """

    evaluations: pl.DataFrame
    weights: Path


def train(
    model: SentenceTransformer,
    rows: pl.DataFrame,
    held_out: HeldOut,
    encode: Encode,
    settings: Settings,
    prompts: dict[str, str],
    device: str,
    folder: Path,
    progress: Progress | None,
) -> Trained:
    """Train ``model`` in place, or go on from the last checkpoint in ``folder``."""
    loss = _loss(model, settings)
    losses: list[torch.Tensor] = []
    with torch.cuda.device(device) if device.startswith("cuda") else nullcontext():
        trainer = _Trainer(
            model=model,
            args=_arguments(settings, rows.height, prompts, device, folder),
            train_dataset=Dataset(rows.to_arrow()),
            loss=loss,
            evaluator=_Evaluator(held_out, encode, losses),
            callbacks=[_Watch(settings.patience, progress)],
        )
        trainer.losses = losses
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    history = [entry for entry in trainer.state.log_history if "eval_value" in entry]
    evaluations = pl.DataFrame(
        [(entry["step"], entry["epoch"], entry["eval_loss"], entry["eval_value"]) for entry in history],
        schema={"step": pl.Int64, "epoch": pl.Float64, "loss": pl.Float64, "value": pl.Float64},
        orient="row",
    )
    return Trained(evaluations, folder / f"checkpoint-{trainer.state.best_global_step}" / _WEIGHTS)


def load_weights(model: nn.Module, file: Path) -> None:
    """Put trained weights back into a model that is set up as it was trained."""
    model.load_state_dict(load_file(file, device=str(next(model.parameters()).device)), strict=False)


class _Trainer(SentenceTransformerTrainer):
    losses: list[torch.Tensor]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss: Any = super().compute_loss(*args, **kwargs)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1} of {self.state.max_steps}, with a learning rate of "
                f"{self.args.learning_rate}: "
                + (
                    "the weights of the model itself are at fault, or a text that it cannot take"
                    if self.state.global_step == 0
                    else "it is likely too high; try a tenth of it"
                )
            )
        self.losses.append(loss.detach())
        return loss

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card: it would hold examples of the shop's own texts."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        os.makedirs(output_dir, exist_ok=True)  # noqa: PTH103 - the library's path is a string
        trained = {name: weight.contiguous() for name, weight in self.model.named_parameters() if weight.requires_grad}
        save_file(trained, Path(output_dir) / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model, Path(resume_from_checkpoint) / _WEIGHTS)


class _Evaluator(BaseEvaluator):
    def __init__(self, held_out: HeldOut, encode: Encode, losses: list[torch.Tensor]) -> None:
        super().__init__()
        self.primary_metric = "value"
        self._held_out = held_out
        self._encode = encode
        self._losses = losses

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        loss = float(torch.stack(self._losses).mean()) if self._losses else float("nan")
        self._losses.clear()
        return {"value": float(self._held_out.values(self._encode).mean()), "loss": loss}


class _Watch(TrainerCallback):
    """Progress, and an early end; all that it knows is in the log, so that it holds over a resumed run."""

    def __init__(self, patience: int | None, progress: Progress | None) -> None:
        self._patience = patience
        self._progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self._progress is not None:
            self._progress("fine-tune", state.global_step, state.max_steps)

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        values = [entry["eval_value"] for entry in state.log_history if "eval_value" in entry]
        if self._patience is not None and len(values) - 1 - int(np.argmax(values)) >= self._patience:
            control.should_training_stop = True


def _loss(model: SentenceTransformer, settings: Settings) -> nn.Module:
    mini = settings.mini_batch_size
    loss: nn.Module
    if settings.loss == GRADES:
        loss = CoSENTLoss(model)
    elif mini is not None and mini < settings.batch_size:
        loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini)
    else:
        loss = MultipleNegativesRankingLoss(model)
    if settings.matryoshka:
        width = model.get_embedding_dimension()
        assert width is not None
        loss = MatryoshkaLoss(model, loss, sorted({*settings.matryoshka, width}, reverse=True))
    return loss


def _arguments(
    settings: Settings, n_rows: int, prompts: dict[str, str], device: str, folder: Path
) -> SentenceTransformerTrainingArguments:
    on_cuda = device.startswith("cuda")
    bf16 = on_cuda and torch.cuda.is_bf16_supported()
    steps_per_epoch = -(-n_rows // settings.batch_size)
    every = max(1, steps_per_epoch // settings.evaluations)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=_WARMUP,
        # Another answer to the same query must not count as a wrong one; grades tell.
        batch_sampler=BatchSamplers.BATCH_SAMPLER if settings.loss == GRADES else BatchSamplers.NO_DUPLICATES,
        prompts=prompts or None,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,  # and the best
        metric_for_best_model="value",
        greater_is_better=True,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=settings.random_state,
        use_cpu=not on_cuda,
        dataloader_pin_memory=on_cuda,
        bf16=bf16,
        fp16=on_cuda and not bf16,
    )
    if on_cuda:
        _ = arguments.device
        arguments._n_gpu = 1  # transformers 5.23 would spread over all GPUs, whatever was asked for
    return arguments


def _last_checkpoint(folder: Path) -> str | None:
    """The latest that is complete: one that a kill cut short lacks the state, which transformers 5.23 writes last."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / TRAINER_STATE_NAME).is_file():
            shutil.rmtree(checkpoint)
    return get_last_checkpoint(str(folder))
