"""A plan as a folder that processes share: arrays mapped from .npy files, texts from Arrow, all else JSON.

    plan.json               the model's parameters, classes, folds, columns
    {array}.npy             the matrix, codes, weights, the folds' rows, statistics of labels by fold where they are declared, and, where a
                            head is trained, vectors and which one each row has
    texts_{role}.arrow      texts that a head reads
    head_{name}.safetensors a head and its logits, by the process that needed them first

Nothing in it is a pickle. Processes on one machine that map a file share its pages.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from hybrid import Coordinates, FeatureMatrix, HybridClassifier
from hybrid.channels import plain
from hybrid.device import resolve_device
from hybrid.encoded_texts import EncodedTexts
from hybrid.encoder import Embedded, TextEncoder
from hybrid.errors import ParameterError
from hybrid.head import FittedHead
from hybrid.label_columns import GROUP as LABEL_STATISTICS
from hybrid.languages import Sentence
from hybrid.matrix import Column
from hybrid.metrics import metric
from tuning.behavior_options import BehaviorColumns, BehaviorSlot
from tuning.binned import BinnedStore
from tuning.folds import Fold
from tuning.plan import FoldHead, Plan
from tuning.task import Task

_PLAN = "plan.json"
_NOT_READ = ("behavior", "encoder", "label_statistics", "class_weight")
"""Parameters of the model that training on a ready matrix does not read, and that JSON may not be able to hold."""


def write_plan(plan: Plan, folder: Path) -> None:
    """Write what ``open_plan`` needs into an empty folder."""
    task = plan.task
    parameters = {n: value for n, value in task.model.get_params(deep=False).items() if n not in _NOT_READ}
    parameters["text_channels"] = plain(parameters["text_channels"])
    if parameters["device"].startswith("cuda"):
        parameters["device"] = "cuda"  # the one that a worker sees
    roles = [] if task.model.channels().head is None else list(plan.encoded.texts)
    told: dict[str, Any] = {
        "parameters": parameters,
        "classes": [str(label) for label in task.classes.tolist()],
        "metric": task.metric.name,
        "cv": task.cv,
        "folds": [dataclasses.asdict(fold.name) for fold in task.folds],
        "columns": [dataclasses.asdict(column) for column in plan.matrix.columns],
        "coordinates": dataclasses.asdict(plan.coordinates),
        "behavior": None if plan.behavior is None else dataclasses.asdict(plan.behavior),
        "weights": list(plan.weights),
        "roles": roles,
        "encoder": _described(plan.encoded.encoder) if roles else None,
        "label_columns": len(plan.label_columns),
        "n_jobs": plan.n_jobs,
        "budget": plan.binned.budget,
    }
    try:
        (folder / _PLAN).write_text(json.dumps(told), encoding="utf-8")
    except TypeError as error:
        raise ParameterError(f"a parameter of the model cannot be handed to worker processes: {error}") from None
    arrays = {"matrix": plan.matrix.numpy(), "codes": task.codes}
    arrays |= {
        f"fold_{i}_{part}": getattr(fold, part) for i, fold in enumerate(task.folds) for part in ("train", "valid")
    }
    arrays |= {
        f"label_columns_{i}_{part}": matrix.numpy()
        for i, pair in enumerate(plan.label_columns)
        for part, matrix in zip(("train", "valid"), pair, strict=True)
    }
    optional = {"row_groups": task.row_groups, "times": task.times}
    optional |= {f"weight_{i}": weight for i, weight in enumerate(plan.weights.values())}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    for i, role in enumerate(roles):
        embedded = plan.encoded.embedded[role]
        arrays |= {f"vectors_{i}": embedded.vectors.cpu().numpy(), f"index_{i}": embedded.index}
        pl.DataFrame({"text": plan.encoded.texts[role]}).write_ipc(folder / f"texts_{i}.arrow")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def open_plan(folder: Path) -> Plan:
    """The plan of a folder, to train on: its task has no examples, events or labels, only their codes."""
    told = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
    model = HybridClassifier(**told["parameters"])
    classes = np.array(told["classes"])
    task = Task(
        model=model,
        examples=pl.DataFrame(),
        labels=np.empty(0),
        codes=_array(folder, "codes"),
        classes=classes,
        events=None,
        metric=metric(told["metric"], len(classes)),
        cv=told["cv"],
        folds=tuple(
            Fold(Sentence(**name), _array(folder, f"fold_{i}_train"), _array(folder, f"fold_{i}_valid"))
            for i, name in enumerate(told["folds"])
        ),
        row_groups=_optional(folder, "row_groups"),
        times=_optional(folder, "times"),
    )
    head = model.channels().head
    device = "cpu" if head is None else resolve_device(model.device)
    texts, embedded = {}, {}
    for i, role in enumerate(told["roles"]):
        texts[role] = pl.read_ipc(folder / f"texts_{i}.arrow")["text"]
        vectors = torch.from_numpy(_array(folder, f"vectors_{i}")).to(device)
        embedded[role] = Embedded(vectors, _array(folder, f"index_{i}"))
    columns = tuple(Column(**column) for column in told["columns"])
    return Plan(
        task=task,
        matrix=FeatureMatrix(_array(folder, "matrix"), columns),
        encoded=EncodedTexts(
            texts, embedded, None if told["encoder"] is None else TextEncoder.from_description(told["encoder"])
        ),
        coordinates=Coordinates(**told["coordinates"]),
        behavior=None if told["behavior"] is None else _behavior(told["behavior"]),
        weights={name: _optional(folder, f"weight_{i}") for i, name in enumerate(told["weights"])},
        n_jobs=told["n_jobs"],
        seconds=0.0,
        binned=BinnedStore(told["budget"]),
        label_columns=tuple(_label_columns(folder, i, columns) for i in range(told["label_columns"])),
        share_head=partial(_shared_head, folder, [] if head is None else head.read(told["roles"])),
    )


def _described(encoder: TextEncoder | None) -> dict[str, Any] | None:
    """What a worker opens the encoder again by; an object of the user's own it cannot, nor does a head ask for it."""
    described = None if encoder is None else encoder.describe()
    return described if described is not None and described["kind"] != "object" else None


def _shared_head(folder: Path, roles: Sequence[str], name: str, train: Callable[[], FoldHead]) -> FoldHead:
    """The head of a fold: read, or trained while other processes wait for it."""
    path = folder / f"head_{name}.safetensors"
    with FileLock(f"{path}.lock"):  # which the system lets go of if the process dies
        if not path.is_file():
            made = train()
            logits = {"train": torch.from_numpy(made.train), "valid": torch.from_numpy(made.valid)}
            tensors = {name: tensor.contiguous() for name, tensor in (made.fitted.tensors() | logits).items()}
            unfinished = path.with_suffix(".unfinished")
            save_file(tensors, unfinished)
            unfinished.replace(path)
            return made
    tensors = load_file(path)
    logits = {part: tensors.pop(part) for part in ("train", "valid")}
    fitted = FittedHead.restore(roles, tensors, "cpu")
    return FoldHead(fitted, logits["train"].numpy(), logits["valid"].numpy())


def _label_columns(folder: Path, fold: int, columns: Sequence[Column]) -> tuple[FeatureMatrix, FeatureMatrix]:
    """The statistics of labels of a fold's training and validation rows."""
    own = tuple(column for column in columns if column.group == LABEL_STATISTICS)
    train, valid = (_array(folder, f"label_columns_{fold}_{part}") for part in ("train", "valid"))
    return FeatureMatrix(train, own), FeatureMatrix(valid, own)


def _behavior(told: dict[str, Any]) -> BehaviorColumns:
    return BehaviorColumns([BehaviorSlot(**slot) for slot in told["slots"]])


def _array(folder: Path, name: str) -> np.ndarray:
    """A mapped array; torch and LightGBM ask for arrays that may be written to, so a page that is written becomes a copy."""
    mapped: np.ndarray[Any, Any] = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
    return mapped.view(np.ndarray)


def _optional(folder: Path, name: str) -> np.ndarray | None:
    return _array(folder, name) if (folder / f"{name}.npy").is_file() else None
