"""The artifact: a folder with everything that scoring needs, no pickle, every file verified.

    manifest.json            format, versions, parameters, columns, calibration, SHA-256 of every file and of the manifest itself
    model.ubj or model.txt   the trees
    head.safetensors         the text head and its word vectors, if there is one
    projections.safetensors  mean and components of each role's coordinates
    categories.parquet       known values of the categorical columns
    match.parquet            corpus statistics of the texts that others are matched with, where there are two roles
    behavior_log.parquet     the fitted event log
    vectors_{n}.parquet      the table of vectors that the n-th family of behaviour features was declared with, if any
    id_texts_{part}.parquet  texts of the ids whose vectors behaviour features read, if any
    label_statistics.parquet keys, times and labels of the training rows, where statistics of labels are declared
    interest_log.parquet     user, item text and time of the log, where recent interest is on
    reference.parquet        up to 2,000 rows of the training matrix, numbers alone, which reports compare other rows with

The encoder's weights are named by a fingerprint and verified when they are loaded; they are not copied.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file

from features import BehaviorFeatures
from features.vectors import EncodedIds, VectorFamily, VectorTable
from hybrid.boosters import booster_class
from hybrid.calibrator import Calibrator
from hybrid.channels import plain
from hybrid.coordinates import Projection
from hybrid.encoder import TextEncoder
from hybrid.errors import ArtifactError, ParameterError
from hybrid.head import FittedHead
from hybrid.head.choice import HeadChoice
from hybrid.head.tuned import TunedHead
from hybrid.interest import RecentInterest
from hybrid.label_columns import LabelColumns
from hybrid.languages import Sentence
from hybrid.match import TextMatch
from hybrid.matrix import Column
from hybrid.reference import Reference

if TYPE_CHECKING:
    from hybrid.classifier import HybridClassifier

FORMAT = 7
MANIFEST = "manifest.json"
_PACKAGES = ("intentree", "numpy", "polars", "torch", "sentence-transformers", "xgboost", "lightgbm", "scikit-learn")


def versions() -> dict[str, str]:
    """Installed versions of the libraries that scores depend on."""
    found = {}
    for package in _PACKAGES:
        for name in (package, f"{package}-cpu"):
            try:
                found[package] = importlib.metadata.version(name)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def save(model: HybridClassifier, folder: Path) -> None:
    """Write a fitted model; a former artifact in the folder is replaced only when the new one is complete.

    Raises
    ------
    ArtifactError
        If the folder holds anything but an artifact, or a parameter cannot be written as JSON.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).is_file())):
        raise ArtifactError(f"{folder} is there and is no artifact; name a new or empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        written = Path(temporary) / "artifact"
        written.mkdir()
        _write(model, written)
        if folder.exists():
            folder.rename(Path(temporary) / "former")
        written.rename(folder)


def load(folder: str | Path, *, encoder: Any = None, device: str = "auto") -> HybridClassifier | Any:
    """Read an artifact and verify every file of it.

    Parameters
    ----------
    folder : str or Path
    encoder : TextEncoder, object with ``.encode``, folder or name, optional
        In place of the encoder that the artifact names; needed where the model was fitted with an object of the user's own.
        Its fingerprint must be the fitted one's.
    device : {"auto", "cpu", "cuda"}, default "auto"

    Returns
    -------
    HybridClassifier, or Blend where the folder holds one
        Fitted; its scores equal those of the saved model.

    Raises
    ------
    ArtifactError
        If a file is missing, truncated, altered, added or written by a newer format. Nothing from the folder is ever executed.
    """
    from hybrid.blend import (
        is_blend,
        load_blend,
    )  # which saves models, so it imports the class that imports this module

    read = load_blend if is_blend(Path(folder)) else load_model
    return read(Path(folder), encoder=encoder, device=device)


def load_model(folder: Path, *, encoder: Any = None, device: str = "auto") -> HybridClassifier:
    """Read the artifact of one model; see ``load``."""
    from hybrid.classifier import HybridClassifier  # the class saves itself, so it imports this module

    manifest = _read_manifest(folder)
    for name, digest in manifest["files"].items():
        _verify(folder, name, digest)

    parameters = dict(manifest["parameters"])
    behavior = None
    if manifest["behavior"] is not None:
        tables = {
            path.stem.removeprefix("vectors_"): pl.read_parquet(path) for path in folder.glob("vectors_*.parquet")
        }
        log = pl.read_parquet(folder / "behavior_log.parquet")
        behavior = BehaviorFeatures.restore(manifest["behavior"], log, tables)
        for place, described in manifest["behavior_encoders"].items():
            behavior.give_vectors(int(place), EncodedIds(TextEncoder.from_description(described)))
    described = manifest["encoder"]
    text_encoder = None if described is None else TextEncoder.from_description(described, model=encoder)
    if text_encoder is not None:
        parameters["encoder"] = text_encoder
    classes = np.array(manifest["classes"]["values"], dtype=manifest["classes"]["dtype"])
    label_columns = None
    if manifest["label_statistics"] is not None:
        label_log = pl.read_parquet(folder / "label_statistics.parquet")
        label_columns = LabelColumns.restore(manifest["label_statistics"], label_log, classes)
        parameters["label_statistics"] = label_columns.declared
    model = HybridClassifier(behavior=behavior, device=device, **parameters)
    model.classes_ = classes
    model.columns_ = tuple(Column(**column) for column in manifest["columns"])
    model.booster_ = booster_class(model.booster).load(
        folder,
        columns=model.columns_,
        n_classes=len(model.classes_),
        device=device,
        best_iteration=manifest["best_iteration"],
    )
    if manifest["calibrator"] is not None:
        told = manifest["calibrator"]
        model.booster_ = model.booster_.calibrated(Calibrator(told["temperature"], tuple(told["biases"])))
    builder = model.builder()
    builder.evidence = dataclasses.replace(builder.evidence, behavior=behavior)
    if behavior is not None:
        texts = {path.stem.removeprefix("id_texts_"): path for path in folder.glob("id_texts_*.parquet")}
        builder.give_text_vectors({part: pl.read_parquet(path) for part, path in texts.items()})
    known = pl.read_parquet(folder / "categories.parquet")
    builder.categories = {name: known.filter(column=name)["value"].to_list() for name in builder.evidence.categorical}
    projections = load_file(folder / "projections.safetensors")
    builder.projections = {
        role: Projection(projections[f"{role}/mean"], projections[f"{role}/components"])
        for role in builder.evidence.text
        if f"{role}/mean" in projections
    }
    builder.label_columns = label_columns
    n_events = builder.evidence.channels.recent_interest
    if n_events:
        builder.interest = RecentInterest(pl.read_parquet(folder / "interest_log.parquet"), n_events)
    choice = manifest["head"]["choice"]
    model.head_ = HeadChoice(choice["mode"], Sentence(**choice["why"]), choice["losses"])
    if model.head_.mode is not None:
        head = FittedHead.restore(manifest["head"]["roles"], load_file(folder / "head.safetensors"), builder.device)
        builder.give_head(head, model.head_.mode, model.classes_)
    if (folder / "match.parquet").is_file():
        declared, roles = builder.evidence.channels.match, tuple(builder.evidence.text)
        assert declared is not None  # where it is off there is no file
        builder.match = TextMatch.restore(
            declared, roles, builder.categories, pl.read_parquet(folder / "match.parquet")
        )
    if text_encoder is not None:
        text_encoder.verify()
    model.builder_ = builder
    model.devices_ = {
        "encoder": None if text_encoder is None else text_encoder.computes_on(device),
        "booster": manifest["device"],
    }
    model.timings_ = manifest["timings"]
    model.reference_ = Reference.restore(folder / "reference.parquet", manifest["reference_rows"])
    model.n_features_in_ = manifest["n_features_in"]
    return model


def read_tuned(folder: str | os.PathLike[str], encoder: TextEncoder, n_layers: int) -> TunedHead:
    """The tuned layers of a saved model's head, for another head on the same encoder.

    Raises
    ------
    ArtifactError
        The folder is no artifact, or its head is truncated or was changed.
    ParameterError
        The model has no tuned layers, another number of them, or those of another encoder.
    """
    place = Path(folder)
    manifest, name = _read_manifest(place), "head.safetensors"
    tuned = None
    if name in manifest["files"]:
        _verify(place, name, manifest["files"][name])
        tuned = FittedHead.restore(manifest["head"]["roles"], load_file(place / name), "cpu").tuned
    if tuned is None:
        raise ParameterError(f"start={str(folder)!r} of a text head: that model has no tuned layers to start from")
    if tuned.n_layers != n_layers:
        raise ParameterError(
            f"start={str(folder)!r} of a text head: that model has {tuned.n_layers} tuned layers, and tuned_layers={n_layers}"
        )
    if manifest["encoder"]["fingerprint"] != encoder.fingerprint:
        raise ParameterError(
            f"start={str(folder)!r} of a text head: its tuned layers are those of another encoder, {manifest['encoder']['model']}"
        )
    return tuned


def head_digest(folder: str | os.PathLike[str]) -> str:
    """The SHA-256 of a saved model's head as its manifest states it; empty where it has none.

    Raises
    ------
    ArtifactError
        The folder is no artifact.
    """
    return str(_read_manifest(Path(folder))["files"].get("head.safetensors", ""))


def _verify(folder: Path, name: str, digest: str) -> None:
    if not (folder / name).is_file():
        raise ArtifactError(f"{folder} lacks {name}; copy or save the artifact again")
    if _sha256(folder / name) != digest:
        raise ArtifactError(f"{name} in {folder} is truncated or was changed: its SHA-256 is not the manifest's")


def _write(model: HybridClassifier, folder: Path) -> None:
    builder = model.builder_
    model.booster_.save(folder)
    model.reference_.save(folder / "reference.parquet")
    tensors = {}
    for role, projection in builder.projections.items():
        tensors[f"{role}/mean"] = projection.mean.cpu().contiguous()
        tensors[f"{role}/components"] = projection.components.cpu().contiguous()
    save_file(tensors or {"none": torch.zeros(0)}, folder / "projections.safetensors")
    if builder.head is not None:
        save_file(builder.head.tensors(), folder / "head.safetensors")
    rows = [{"column": name, "value": value} for name, values in builder.categories.items() for value in values]
    pl.DataFrame(rows, schema={"column": pl.String, "value": pl.String}).write_parquet(folder / "categories.parquet")
    if builder.match is not None:
        builder.match.table().write_parquet(folder / "match.parquet")
    behavior = builder.evidence.behavior
    if behavior is not None:
        behavior.log_.write_parquet(folder / "behavior_log.parquet")
        for place, table in behavior.tables().items():
            table.write_parquet(folder / f"vectors_{place}.parquet")
    for part, vectors in builder.id_vectors.items():
        if vectors.texts is not None:
            vectors.texts.write_parquet(folder / f"id_texts_{part}.parquet")
    if builder.label_columns is not None:
        builder.label_columns.log().write_parquet(folder / "label_statistics.parquet")
    if builder.interest is not None:
        builder.interest.log.write_parquet(folder / "interest_log.parquet")
    parameters = {
        name: value
        for name, value in model.get_params(deep=False).items()
        if name not in ("behavior", "encoder", "label_statistics", "device")
    }
    if isinstance(parameters["class_weight"], dict):
        parameters["class_weight"] = None  # of no use to scoring, and its keys may be no strings
    parameters["text_channels"] = plain(parameters["text_channels"])
    manifest = {
        "format": FORMAT,
        "versions": versions(),
        "parameters": parameters,
        "classes": {"dtype": model.classes_.dtype.str, "values": model.classes_.tolist()},
        "columns": [dataclasses.asdict(column) for column in model.columns_],
        "head": {
            "choice": dataclasses.asdict(model.head_),
            "roles": [] if builder.head is None else list(builder.head.roles),
        },
        "best_iteration": model.booster_.best_iteration,
        "calibrator": None if model.booster_.calibrator is None else dataclasses.asdict(model.booster_.calibrator),
        "device": model.booster_.device,
        "timings": model.timings_,
        "reference_rows": model.reference_.rows,
        "n_features_in": model.n_features_in_,
        "encoder": None if builder.encoder is None else builder.encoder.describe(),
        "behavior": None if behavior is None else behavior.declaration(),
        "behavior_encoders": {} if behavior is None else _encoders(behavior),
        "label_statistics": None if builder.label_columns is None else builder.label_columns.declaration(),
        "files": {path.name: _sha256(path) for path in sorted(folder.iterdir())},
    }
    try:
        text = json.dumps({**manifest, "sha256": _digest(manifest)}, indent=1, ensure_ascii=False)
    except TypeError as error:
        raise ParameterError(f"a parameter of the model cannot be written as JSON: {error}") from None
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _encoders(behavior: BehaviorFeatures) -> dict[str, Any]:
    """Descriptions of the encoders that families of behaviour features were declared with, by the family's place."""
    described = {}
    for place, family in enumerate(behavior.families_):
        if isinstance(family, VectorFamily) and not isinstance(family.vectors, VectorTable | str):
            encoder = getattr(family.vectors, "encoder", None)
            if not isinstance(encoder, TextEncoder):
                raise ParameterError(
                    f"the family {family.name!r} reads vectors from an object that an artifact cannot hold; declare it with a table, "
                    'a TextEncoder, or vectors="text"'
                )
            described[str(place)] = encoder.describe()
    return described


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder} is no artifact: it has no {MANIFEST}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        stated = manifest.pop("sha256")
        version = manifest["format"]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ArtifactError(f"{path} is truncated or is no manifest") from None
    if version != FORMAT:
        raise ArtifactError(
            f"{path} is of format {version}; this version reads format {FORMAT}: fit and save the model again"
        )
    if _digest(manifest) != stated:
        raise ArtifactError(f"{path} was changed: its SHA-256 is not the one that it states")
    return dict(manifest)


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
