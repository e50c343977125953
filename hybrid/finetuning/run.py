"""One run of fine-tuning: from pairs to a folder that holds an encoder, and what became better by it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time as clock
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import polars as pl

from features.frames import Frame
from hybrid.builder import Progress
from hybrid.device import resolve_device
from hybrid.encoder import TextEncoder
from hybrid.errors import ParameterError
from hybrid.finetuning.evaluation import HeldOut, gain_interval
from hybrid.finetuning.negatives import graded_rows, training_rows
from hybrid.finetuning.output import checkpoints, require_encoder_place, write_encoder
from hybrid.finetuning.pairs import PairColumns, hold_out, read_pairs
from hybrid.finetuning.result import FineTuned
from hybrid.finetuning.settings import GRADES, Settings


def finetune(
    encoder: TextEncoder | str | os.PathLike[str],
    pairs: Frame,
    folder: str | os.PathLike[str],
    *,
    anchor: str = "query",
    positive: str | Sequence[str] = "title",
    label: str | None = None,
    loss: Literal["ranking", "grades"] = "ranking",
    min_label: float = 1.0,
    time: str | None = None,
    negatives: int = 1,
    holdout: float = 0.1,
    roles: Sequence[str] = ("query", "item"),
    epochs: int = 1,
    batch_size: int = 64,
    mini_batch_size: int | None = None,
    learning_rate: float = 5e-5,
    max_tokens: int | None = 64,
    freeze: int | None = None,
    lora: int | None = None,
    matryoshka: Sequence[int] = (),
    evaluations: int = 4,
    patience: int | None = 4,
    device: str = "auto",
    random_state: int = 0,
    progress: Progress | None = None,
) -> FineTuned:
    """Adapt a sentence-transformers model to pairs of a query and an item that answered it.

    Trained with in-batch negatives (``MultipleNegativesRankingLoss``), beside the hard negatives that labels tell; no batch has a text
    twice. Or, by ``loss="grades"``, so that a pair of a higher label has the higher cosine. Queries are held out first, and ranked
    before, during and after training. What is written is the best of all evaluated states, **the encoder as it was among them**: the
    result never ranks the held-out queries worse. ``FineTuned.improved`` says whether it ranks them better, and ``FineTuned.verdict``
    why it may not.

    A run that was stopped goes on from its last evaluation when the same call is made again.

    Parameters
    ----------
    encoder : TextEncoder, str or path
        What to begin from: a model of transformers or static embeddings in a folder or on the hub. Prompts, ``dim``, device, batch
        size and store of a TextEncoder pass on to the encoder that comes out.
    pairs : polars.DataFrame, pandas.DataFrame or pyarrow.Table
        A row for each item that was clicked or bought for a query, or for each that was shown, with a label. Rows without a query, item,
        label or time are dropped; equal pairs are one, with the highest label.
    folder : str or path
        Where the encoder goes, for ``TextEncoder(folder)``. A fine-tuned encoder that is there is replaced. Checkpoints lie beside it
        while training goes on.
    anchor : str, default "query"
        Column of the queries. For texts with classes: the text, with the readable name of its class, or another text of the class, as
        the positive.
    positive : str or sequence of str, default "title"
        Column of the items' texts, or columns to join.
    label : str, optional
        Column of numbers or booleans, 0 for no answer: clicked or not, or a grade. Without it each row is a positive.
    loss : {"ranking", "grades"}, default "ranking"
        "grades" learns from the order of all labels (CoSENT, Su 2022) rather than from positives and negatives: for judged relevance in
        several grades, where most pairs shown answer the query somehow.
    min_label : float, default 1.0
        Rows of at least this label are positives; the other rows of their query are hard negatives.
    time : str, optional
        Column of times. With it the latest queries are held out, and training ends where they begin. Else they are drawn at random.
    negatives : int, default 1
        Hard negatives beside each positive, where there is a label; random items fill up where a query has too few.
    holdout : float, default 0.1
        Share of the queries to hold out, at most 0.5, and at most 1,000 queries. Queries that differ in case, punctuation or white space
        are one.
    roles : two str, default ("query", "item")
        Roles of queries and items, whose prompts are put before them as in encoding.
    epochs : int, default 1
    batch_size : int, default 64
        Pairs in a batch; each is a negative to all others, so that larger is better.
    mini_batch_size : int, optional
        Pairs in one forward pass, where memory cannot hold a batch: gradients are cached (GradCache, Gao et al. 2021), a fifth slower.
    learning_rate : float, default 5e-5
        At its peak, after a tenth of all steps; then linearly to 0. With ``lora``, ten times as much is usual.
    max_tokens : int, optional, default 64
        Longer texts are cut while training, not after. ``None`` for the model's own limit.
    freeze : int, optional
        Keep the embeddings and this many of the first layers as they are: faster, and less is forgotten.
    lora : int, optional
        Train additions of this rank to the linear maps in place of the weights, and merge them in the end (LoRA, Hu et al. 2021).
    matryoshka : sequence of int, default ()
        Shorter lengths that vectors are to be good at too, for ``TextEncoder(folder, dim=...)`` (Kusupati et al. 2022).
    evaluations : int, default 4
        In each epoch.
    patience : int, optional, default 4
        Evaluations without a better one after which training ends; ``None`` for never.
    device : {"auto", "cpu", "cuda"} or "cuda:N", default "auto"
        On CUDA in bfloat16, or float16 where the device lacks that; on the CPU in float32.
    random_state : int, default 0
        The same inputs give the same weights on the same machine's CPU.
    progress : callable, optional
        Called with "fine-tune", the steps that are done and all of them.

    Returns
    -------
    FineTuned

    Raises
    ------
    ImportError
        A package of the extra ``finetune`` is not installed.
    EncoderError
        The encoder is an object or cannot be loaded, or the folder holds something else.
    ColumnError, EmptyFrameError, PairsError
        ``pairs`` lack a column, or nothing can be learned from them.
    ParameterError, DeviceError
        A parameter cannot be, or CUDA is asked for where there is none.
    TrainingError
        The loss or the vectors are no numbers any more.

    Examples
    --------
    >>> tuned = finetune("all-MiniLM-L6-v2", clicks, "encoders/shop", label="clicked", time="ts")  # doctest: +SKIP
    >>> print(tuned.verdict)  # doctest: +SKIP
    ndcg@10 of 312 held-out queries: 0.6120 before, 0.6544 after, +0.0424 (+0.0291 to +0.0560)
    >>> model = HybridClassifier(text={"query": "query", "item": "title"}, encoder=tuned.encoder)  # doctest: +SKIP
    """
    if loss == GRADES and label is None:
        raise ParameterError("loss='grades' learns from labels: name their column, label=...")
    settings = Settings.checked(
        loss=loss,
        min_label=min_label,
        negatives=negatives if label is not None and loss != GRADES else 0,
        holdout=holdout,
        roles=roles,
        epochs=epochs,
        batch_size=batch_size,
        mini_batch_size=mini_batch_size,
        learning_rate=learning_rate,
        max_tokens=max_tokens,
        freeze=freeze,
        lora=lora,
        matryoshka=matryoshka,
        evaluations=evaluations,
        patience=patience,
        random_state=random_state,
    )
    _require_packages(settings)
    where, began = resolve_device(device), clock.perf_counter()
    base = encoder if isinstance(encoder, TextEncoder) else TextEncoder(encoder)
    place = Path(folder)
    require_encoder_place(place, base.files.folder)
    rows = read_pairs(pairs, PairColumns(anchor, positive, label, time), settings.min_label)
    split = hold_out(rows, settings.holdout, settings.min_label, random_state)
    held_out = HeldOut.of(split.held_out, split.train, settings.min_label, random_state)
    training = (
        graded_rows(split.train)
        if settings.loss == GRADES
        else training_rows(split.train, settings.min_label, settings.negatives, random_state)
    )

    from hybrid.finetuning.adaptation import Adaptation  # here: 5 s that a mistake in the pairs need not wait for

    adaptation = Adaptation(base, settings, where)
    before = adaptation.values(held_out)
    work = checkpoints(place, _digest(base, settings, rows))
    found = adaptation.train(training, held_out, work, progress)
    improved = adaptation.keep_best(float(before.mean()))
    after = adaptation.values(held_out) if improved else before
    interval = gain_interval(before, after, random_state)
    record = {
        "base": {"model": base.files.name, "fingerprint": base.files.fingerprint},
        "columns": {"anchor": anchor, "positive": positive, "label": label, "time": time},
        "training_pairs": training.height,
        "training_queries": split.train["key"].n_unique(),
        "held_out_queries": held_out.n_queries,
        "rows_in_neither": split.left_out,
        "metric": held_out.metric,
        "before": float(before.mean()),
        "after": float(after.mean()),
        "gain_interval": interval,
        "evaluations": found.to_dicts(),
        "settings": dataclasses.asdict(settings),
        "device": where,
        "seconds": round(clock.perf_counter() - began, 1),
    }
    write_encoder(place, adaptation.save, record)
    shutil.rmtree(work)
    return FineTuned(
        folder=place,
        encoder=TextEncoder(
            place,
            prompts=base.prompts,
            dim=base.dim,
            device=base.device,
            batch_size=base.batch_size,
            store=base.store,
        ),
        metric=held_out.metric,
        n_queries=held_out.n_queries,
        before=float(before.mean()),
        after=float(after.mean()),
        gain_interval=interval,
        evaluations=found,
    )


def _require_packages(settings: Settings) -> None:
    needed = ["datasets", "accelerate", *(["peft"] if settings.lora is not None else [])]
    lacking = [package for package in needed if find_spec(package) is None]
    if lacking:
        raise ImportError(
            f"fine-tuning needs {' and '.join(lacking)}: pip install 'intentree[finetune]'", name=lacking[0]
        )


def _digest(base: TextEncoder, settings: Settings, rows: pl.DataFrame) -> str:
    """What tells one run from another, so that a stopped one goes on only with the same inputs."""
    inputs = {
        "base": base.files.fingerprint,
        "dim": base.dim,
        "prompts": [base.prompt(role) for role in settings.roles],
    }
    digest = hashlib.sha256(json.dumps(inputs | dataclasses.asdict(settings), sort_keys=True).encode())
    digest.update(rows.write_csv().encode())
    return digest.hexdigest()
