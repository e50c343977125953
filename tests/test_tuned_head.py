"""Heads that train the upper layers of the encoder: what they learn, what they leave alone, and what they refuse."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from encoders import HashEncoder
from scipy.special import log_softmax
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tiny_bert import tiny_bert
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from hybrid import HybridClassifier, TextEncoder, TextHead, TrainingError, load
from hybrid.artifact import read_tuned
from hybrid.device import multiplies_bfloat16
from hybrid.encoded_texts import EncodedTexts
from hybrid.errors import ArtifactError, EncoderError, ParameterError
from hybrid.head import FittedHead, HeadFit, fit_head
from hybrid.head.folds import head_folds
from hybrid.head.tuned import TunedFolds, TunedHead, TunedNetwork
from hybrid.randomness import own_randomness
from tuning import StudyError, tune
from tuning.plan import Plan
from tuning.plan_folder import open_plan, write_plan

CPU = torch.device("cpu")
WORDS = [f"word{n}" for n in range(12)]
TREES = {"n_estimators": 10, "early_stopping_rounds": None, "max_depth": 3, "head": "feature"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("tuned"), WORDS)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training too short to learn from, whose logits count nevertheless, where learning is not the point."""
    monkeypatch.setattr("hybrid.head.tuned._FEWEST_STEPS", 20)
    monkeypatch.setattr("hybrid.head.fitting.scaled_loss", lambda parts, codes, weight: (0.5, (0.5,) * len(parts)))


def pairs(n: int, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """A query of one word and a title of four; the class is whether the title has the word."""
    rng = np.random.default_rng(seed)
    titles = np.array([rng.choice(len(WORDS), 4, replace=False) for _ in range(n)])
    y = rng.integers(0, 2, n)
    inside = titles[np.arange(n), rng.integers(0, 4, n)]
    outside = np.array([rng.choice(np.setdiff1d(np.arange(len(WORDS)), title)) for title in titles])
    wanted = np.where(y == 1, inside, outside)
    frame = {"query": [WORDS[w] for w in wanted], "title": [" ".join(WORDS[t] for t in title) for title in titles]}
    return pl.DataFrame(frame), y


def topics(n: int, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """A text of three words, and the class of four that the first and last of them make."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, len(WORDS), (n, 3))
    return pl.DataFrame({"text": [" ".join(WORDS[w] for w in row) for row in words]}), words[:, 0] // 3


def encoded(texts: pl.DataFrame, encoder: TextEncoder) -> EncodedTexts:
    vectors = {role: encoder.encode_distinct(texts[role]) for role in texts.columns}
    return EncodedTexts(texts.to_dict(), vectors, encoder)


def head_of(base: Path, texts: pl.DataFrame, y: np.ndarray, n_classes: int, **options) -> HeadFit:
    declared = TextHead(tuned_layers=1, words=0, wide=False if texts.width == 1 else None, folds=2)
    known = encoded(texts, TextEncoder(base, store=None, device="cpu"))
    return fit_head(declared, known, y, n_classes=n_classes, folds=head_folds(y, None, None, 2, 0), **options)


# What it learns


def test_its_logits_are_out_of_fold_and_serve_new_rows(base: Path) -> None:
    texts, y = topics(2_000)
    fit = head_of(base, texts, y, 4)
    assert fit.head.tuned is not None
    assert fit.head.tuned_scale > 0
    loss = -log_softmax(fit.logits.astype(np.float64), axis=1)[np.arange(len(y)), y].mean()
    assert fit.loss == pytest.approx(loss, abs=1e-4)
    new, truth = topics(500, seed=1)
    logits = fit.head.logits(encoded(new, TextEncoder(base, store=None, device="cpu")))
    of_new = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(truth)), truth].mean()
    assert of_new < 0.8 * fit.prior_loss
    assert of_new == pytest.approx(fit.loss, rel=0.5)


def test_labels_that_texts_do_not_tell_are_not_learned(base: Path) -> None:
    texts, _ = topics(600)
    y = np.random.default_rng(3).integers(0, 2, 600)
    fit = head_of(base, texts, y, 2)
    assert fit.loss > fit.prior_loss - 0.02


@pytest.mark.usefixtures("few_steps")
def test_training_is_reproducible_and_leaves_the_process_alone(base: Path) -> None:
    texts, y = pairs(60)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = head_of(base, texts, y, 2)
    assert torch.equal(torch.rand(3), expected)
    assert first.head.tuned is not None
    again = head_of(base, texts, y, 2)
    np.testing.assert_array_equal(first.logits, again.logits)
    other = head_of(base, texts, y, 2, random_state=1)
    assert not np.allclose(first.logits, other.logits)


def test_the_encoder_itself_stays_as_it_is(base: Path) -> None:
    encoder = TextEncoder(base, store=None, device="cpu")
    before = encoder.encode(WORDS)
    texts, y = topics(200)
    fit = head_of(base, texts, y, 4)
    np.testing.assert_array_equal(encoder.encode(WORDS), before)
    trained = {name for name in fit.head.tensors() if name.startswith("tuned/transformer")}
    assert trained
    assert all(".layer.1." in name for name in trained)  # the upper one of two


def test_layers_that_are_not_trained_compute_as_for_the_encoder(base: Path) -> None:
    texts, _ = topics(10)
    network = TunedNetwork(encoded(texts, TextEncoder(base, store=None, device="cpu")), ["text"], 1, 4, CPU).train()
    parts = dict(network.transformer.named_modules())
    assert not parts["encoder.layer.0.output.dropout"].training
    assert not parts["embeddings.dropout"].training
    assert parts["encoder.layer.1.output.dropout"].training
    assert not any(part.training for part in network.eval().modules())


@pytest.mark.usefixtures("few_steps")
def test_a_training_hides_some_words_and_a_prediction_none(tmp_path: Path) -> None:
    texts, y = pairs(64)
    known = encoded(texts, TextEncoder(tiny_bert(tmp_path, WORDS, mask=True), store=None, device="cpu"))
    network = TunedNetwork(known, ["query", "title"], 1, 2, CPU, token_masking=0.3)
    read = []
    network.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].numpy()), with_kwargs=True
    )
    sides = [texts[role].to_list() for role in texts.columns]
    with own_randomness(0):
        network.train()(sides)
        network(sides)
    network.eval()(sides)
    first, second, whole = read
    mask, words = 4 + len(WORDS), whole >= 4
    assert not (whole == mask).any()
    assert (first[words] == mask).mean() == pytest.approx(0.3, abs=0.08)
    for hidden in (first, second):
        np.testing.assert_array_equal(hidden[hidden != mask], whole[hidden != mask])
        assert words[hidden == mask].all()
    assert (first != second).any()

    fits = []
    for share in (0.0, 0.3, 0.3):
        folds = TunedFolds(known, texts.columns, 1, y, None, 2, CPU, token_masking=share)
        folds.train(np.arange(64), 0)
        fits.append(folds.predict(np.arange(64)))
    np.testing.assert_array_equal(fits[1], fits[2])
    assert not np.allclose(fits[0], fits[1])


def test_half_precision_trains_as_single_does_and_predicts_in_single(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, y = topics(800)
    known = encoded(texts, TextEncoder(base, store=None, device="cpu"))
    logits, loss = {}, {}
    for half in (True, False):
        monkeypatch.setattr("hybrid.head.tuned.multiplies_bfloat16", lambda device, half=half: half)
        folds = TunedFolds(known, ["text"], 1, y, None, 4, CPU)
        folds.train(np.arange(600), 0)
        logits[half] = folds.predict(np.arange(600, 800))
        # The other arithmetic changes the training, and nothing of what a trained head says.
        monkeypatch.setattr("hybrid.head.tuned.multiplies_bfloat16", lambda device: False)
        there = folds.head().logits(known.rows(np.arange(600, 800)), CPU)
        np.testing.assert_allclose(there, logits[half], atol=1e-5)
        loss[half] = -log_softmax(logits[half].astype(np.float64), axis=1)[np.arange(200), y[600:]].mean()
    assert not np.array_equal(logits[True], logits[False])
    assert loss[True] == pytest.approx(loss[False], rel=0.2)
    assert loss[True] < 0.93 * np.log(4)  # of random weights


@pytest.mark.parametrize("unit", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_multiplies_bfloat16_where_it_has_a_unit_for_it(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        found = {"avx512_f": True, unit: has}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert multiplies_bfloat16(CPU) is has


@pytest.mark.usefixtures("few_steps")
def test_an_equal_pair_has_equal_logits_in_any_company(base: Path) -> None:
    texts, y = pairs(200)
    fit = head_of(base, texts, y, 2)
    assert fit.head.tuned is not None
    encoder = TextEncoder(base, store=None, device="cpu")
    alone = fit.head.logits(encoded(texts[:1], encoder))
    among = fit.head.logits(encoded(pl.concat([texts[5:50], texts[:1], texts[:1]]), encoder))
    np.testing.assert_allclose(among[-2:], np.repeat(alone, 2, axis=0), atol=1e-5)


def test_a_sample_weight_counts(base: Path) -> None:
    texts, y = topics(400)
    known = encoded(texts, TextEncoder(base, store=None, device="cpu"))
    of_first = []
    for weight in (np.where(y == 0, 20.0, 1.0), None):
        folds = TunedFolds(known, ["text"], 1, y, weight, 4, CPU)
        folds.train(np.arange(300), 0)
        logits = folds.predict(np.arange(300, 400))
        of_first.append((logits[:, 0] - logits.mean(axis=1)).mean())
    assert of_first[0] > of_first[1] + 1


@pytest.mark.usefixtures("few_steps")
def test_rows_of_the_same_texts_and_class_train_as_one_of_their_weight(base: Path) -> None:
    texts, y = topics(60)
    texts, y = texts.vstack(texts[:1]), np.append(y, (y[0] + 1) % 4)  # a text of two classes
    encoder = TextEncoder(base, store=None, device="cpu")
    logits = []
    for repeats in (np.ones(61), np.where(np.arange(61) < 20, 3.0, 1.0)):
        rows = np.repeat(np.arange(61), repeats.astype(int))
        weight = np.where(np.arange(61) < 20, 3 / repeats, 1.0)[rows]
        folds = TunedFolds(encoded(texts[rows], encoder), ["text"], 1, y[rows], weight, 4, CPU)
        folds.train(np.arange(len(rows)), random_state=0)
        logits.append(folds.predict(np.flatnonzero(np.diff(rows, prepend=-1))))
    np.testing.assert_array_equal(*logits)


# In a model


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("make", [pairs, topics])
def test_an_artifact_scores_as_the_model_did(base: Path, tmp_path: Path, make) -> None:
    frame, y = make(200)
    model = HybridClassifier(
        text={name: name for name in frame.columns},
        encoder=str(base),
        device="cpu",
        text_channels={"head": TextHead(tuned_layers=2, folds=2)},
        **TREES,
    ).fit(frame, y)
    expected = model.predict_proba(frame)
    model.save(tmp_path / "artifact")
    np.testing.assert_allclose(load(tmp_path / "artifact", device="cpu").predict_proba(frame), expected, atol=1e-6)
    head = model.builder_.head
    assert head is not None
    assert head.tuned is not None
    copied: FittedHead = pickle.loads(pickle.dumps(head))
    known = model.builder_.encode(frame)
    np.testing.assert_allclose(copied.logits(known), head.logits(known), atol=1e-6)


@pytest.mark.usefixtures("few_steps")
def test_texts_that_say_nothing_or_too_much(base: Path) -> None:
    frame, y = pairs(200)
    model = HybridClassifier(
        text={"query": "query", "title": "title"},
        encoder=str(base),
        device="cpu",
        text_channels={"head": {"tuned_layers": 1, "folds": 2}},
        **TREES,
    ).fit(frame, y)
    assert model.builder_.head is not None
    assert model.builder_.head.tuned is not None
    odd = pl.DataFrame(
        {
            "query": ["", None, "   ", "word1 " * 2_000, "\U0001f45f", "word1"],
            "title": [None, "", "鞋子 word2", "word1", " ", "word1"],
        },
        schema={"query": pl.String, "title": pl.String},
    )
    proba = model.predict_proba(odd)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


@pytest.mark.usefixtures("few_steps")
def test_a_worker_s_plan_trains_the_same_head(base: Path, tmp_path: Path) -> None:
    frame, y = topics(150)
    model = HybridClassifier(
        text={"text": "text"},
        encoder=str(base),
        device="cpu",
        text_channels={"head": TextHead(tuned_layers=1, folds=2)},
        **TREES,
    )
    study = tune(model, frame, y, cv="stratified", folds=2, n_trials=1, space={"max_depth": (2, 3)})
    plan = Plan.build(study.task, study.space)
    write_plan(plan, tmp_path)
    here, there = plan.head(0, {}), open_plan(tmp_path).head(0, {})
    np.testing.assert_allclose(there.valid, here.valid, atol=1e-6)
    assert there.fitted.tuned is not None
    assert set(there.fitted.tuned.weights) == set(here.fitted.tuned.weights)


@pytest.fixture(scope="module")
def other_shop(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of 2,000 texts whose head has two tuned layers."""
    frame, y = topics(2_000)
    folder = tmp_path_factory.mktemp("other") / "shop"
    of_topics(base, tuned_layers=2).fit(frame, y).save(folder)
    return folder


def of_topics(base: Path, **head) -> HybridClassifier:
    channels = {"head": TextHead(folds=2, words=0, wide=False, **head)}
    return HybridClassifier(text={"text": "text"}, encoder=str(base), device="cpu", text_channels=channels, **TREES)


def test_a_new_domain_goes_on_from_the_layers_of_the_old(other_shop: Path) -> None:
    model = load(other_shop, device="cpu")
    trained = model.builder_.head
    assert trained is not None
    new, truth = topics(60, seed=2)
    known = model.builder_.encode(new)
    folds = head_folds(truth, None, None, 2, 0)
    head = TextHead(tuned_layers=2, folds=2, words=0, wide=False)
    cold, warm = (
        fit_head(head, known, truth, n_classes=4, folds=folds, start=start) for start in (None, trained.tuned)
    )
    assert warm.loss < cold.loss
    adapted = model.adapt(new, truth)
    assert adapted.adaptation_.losses["new head"] < 2 * np.log(4)


def test_training_may_start_from_the_layers_of_a_saved_model(base: Path, other_shop: Path) -> None:
    encoder = TextEncoder(base, store=None, device="cpu")
    (few, y), (new, truth) = topics(150, seed=2), topics(400, seed=5)
    known, codes = encoded(pl.concat([few, new]), encoder), 3 - np.append(y, truth)  # no class is what it was there
    loss = []
    for start in (None, read_tuned(other_shop, encoder, 2).layers()):
        folds = TunedFolds(known, ["text"], 2, codes, None, 4, CPU, start)
        folds.train(np.arange(150), 0)
        logits = folds.predict(np.arange(150, 550)).astype(np.float64)
        loss.append(-log_softmax(logits, axis=1)[np.arange(400), codes[150:]].mean())
    assert loss[1] < 0.96 * loss[0]


def test_a_saved_model_does_not_need_the_one_that_it_started_from(base: Path, other_shop: Path, tmp_path: Path) -> None:
    frame, y = topics(300, seed=2)
    start = tmp_path / "start"
    shutil.copytree(other_shop, start)
    classes = y % 3  # one less than in the other shop
    model = of_topics(base, tuned_layers=2, start=start).fit(frame, classes)
    head = model.builder_.head
    assert head is not None
    assert head.tuned is not None
    model.save(tmp_path / "own")
    shutil.rmtree(start)
    loaded = load(tmp_path / "own", device="cpu")
    np.testing.assert_allclose(loaded.predict_proba(frame), model.predict_proba(frame), atol=1e-6)


@pytest.fixture(scope="module")
def blurred(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder to which all words are the same."""
    model = SentenceTransformer(str(base), device="cpu")
    with torch.no_grad():
        known = model[0].auto_model.embeddings.word_embeddings.weight
        known[4:] = known[4].clone()
    folder = tmp_path_factory.mktemp("blurred") / "model"
    model.save(str(folder), create_model_card=False)
    return folder


def test_tuned_embeddings_tell_words_apart_that_the_encoder_cannot(blurred: Path) -> None:
    texts, y = topics(600)
    for embeddings in (False, True):
        head = TextHead(tuned_layers=2, tuned_embeddings=embeddings, words=0, wide=False, folds=2)
        known = encoded(texts, TextEncoder(blurred, store=None, device="cpu"))
        fit = fit_head(head, known, y, n_classes=4, folds=head_folds(y, None, None, 2, 0))
        assert (fit.loss < 0.9 * fit.prior_loss) == embeddings


def test_embeddings_of_words_that_occur_twice_stay_as_they_are(base: Path) -> None:
    texts = pl.DataFrame({"text": ["word0 word1", "word0 word2", "word1 word0 word3"] * 20})
    known, y = encoded(texts, TextEncoder(base, store=None, device="cpu")), np.arange(60) % 2
    folds = TunedFolds(known, ["text"], 1, y, None, 2, CPU, epochs=1, embeddings=True)
    folds.train(np.arange(60), 0)
    head = folds.head()
    assert head.tokens is not None
    assert head.tokens.tolist() == [2, 3, 4]  # both ends of a text, and word0; a text that comes again counts once
    (name,) = (name for name in head.weights if "embeddings" in name)
    differences = head.weights[name]
    assert differences.shape == (4, 32)
    assert not differences[0].any()
    assert differences[1:].any(dim=1).all()


@pytest.mark.usefixtures("few_steps")
def test_tuned_embeddings_are_saved_and_serve_as_a_start(base: Path, tmp_path: Path) -> None:
    frame, y = topics(200)
    model = of_topics(base, tuned_layers=1, tuned_embeddings=True).fit(frame, y)
    model.save(tmp_path / "shop")
    loaded = load(tmp_path / "shop", device="cpu")
    np.testing.assert_allclose(loaded.predict_proba(frame), model.predict_proba(frame), atol=1e-6)
    assert pickle.loads(pickle.dumps(model.builder_.head)).tuned.tokens is not None
    with pytest.raises(
        ParameterError, match="that model has tuned embeddings, so this head needs tuned_embeddings=True"
    ):
        of_topics(base, tuned_layers=1, start=tmp_path / "shop").fit(frame, y)
    few = frame.filter(~pl.col("text").str.contains("word1"))  # word1, word10 and word11, which the start knows
    known, codes = encoded(few, TextEncoder(base, store=None, device="cpu")), np.arange(few.height) % 4
    start = read_tuned(tmp_path / "shop", TextEncoder(base, device="cpu"), 1).layers()
    folds = TunedFolds(known, ["text"], 1, codes, None, 4, CPU, start, epochs=1, embeddings=True)
    folds.train(np.arange(few.height), 0)
    assert start.tokens is not None
    assert torch.equal(folds.head().tokens, start.tokens)
    (name,) = (name for name in start.weights if "embeddings" in name)
    places = [start.tokens.tolist().index(4 + word) + 1 for word in (1, 10, 11)]
    moved = folds.head().weights[name][places] - start.weights[name][places]
    assert moved.abs().max() < 1e-4 < start.weights[name][places].abs().max()  # weight decay alone


# What it refuses


def test_a_start_that_does_not_fit(base: Path, other_shop: Path, tmp_path: Path) -> None:
    texts, y = topics(60)

    def fit(start: Path, encoder: Path = base, n_layers: int = 2) -> None:
        of_topics(encoder, tuned_layers=n_layers, start=start).fit(texts, y)

    with pytest.raises(ArtifactError, match=r"is no artifact: it has no manifest\.json"):
        fit(tmp_path)
    with pytest.raises(ParameterError, match="that model has 2 tuned layers, and tuned_layers=1"):
        fit(other_shop, n_layers=1)
    with pytest.raises(ParameterError, match="tuned layers are those of another encoder"):
        fit(other_shop, tiny_bert(tmp_path, [*WORDS, "more"]))
    of_topics(base).fit(texts, y).save(tmp_path / "plain")
    with pytest.raises(ParameterError, match="that model has no tuned layers to start from"):
        fit(tmp_path / "plain")
    shutil.copytree(other_shop, tmp_path / "cut")
    head = tmp_path / "cut" / "head.safetensors"
    head.write_bytes(head.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=r"head\.safetensors in .* is truncated or was changed"):
        fit(tmp_path / "cut")


def test_a_study_refuses_layers_that_cannot_be_tuned_before_its_first_trial(base: Path, other_shop: Path) -> None:
    texts, y = topics(60)
    for head, wrong in (
        ({"tuned_layers": 1, "start": other_shop}, "that model has 2 tuned layers"),
        ({"tuned_layers": 3}, "the model has 2 layers"),
        ({"tuned_layers": 1, "token_masking": 0.1}, "needs a tokenizer with a mask token"),
    ):
        with pytest.raises(ParameterError, match=wrong):
            tune(of_topics(base, **head), texts, y, cv="stratified", folds=2, n_trials=1, space={"max_depth": (2, 3)})


@pytest.mark.usefixtures("few_steps")
def test_a_study_does_not_go_on_from_a_start_that_was_replaced(base: Path, tmp_path: Path) -> None:
    texts, y = topics(60)
    start, study = tmp_path / "shop", {"storage": f"sqlite:///{tmp_path}/study.db", "study_name": "shop"}
    options = {"cv": "stratified", "folds": 2, "n_trials": 1, "space": {"max_depth": (2, 3)}, **study}
    of_topics(base, tuned_layers=1).fit(texts, y).save(start)
    model = of_topics(base, tuned_layers=1, start=start)
    tune(model, texts, y, **options)
    tune(model, texts, y, **{**options, "n_trials": 2})
    shutil.rmtree(start)
    of_topics(base, tuned_layers=1).fit(texts, y[::-1]).save(start)
    with pytest.raises(StudyError, match="this differs: the model that the text head starts from"):
        tune(model, texts, y, **options)


@pytest.mark.parametrize("options", [{"start": "folder"}, {"start": 3, "tuned_layers": 1}])
def test_a_start_needs_a_folder_and_layers(options) -> None:
    with pytest.raises(ParameterError, match="must be the folder of a saved model, and needs tuned_layers"):
        TextHead(**options)


def test_epochs_are_as_many_as_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, y = topics(64)
    steps = []
    monkeypatch.setattr("hybrid.head.tuned.require_finite", lambda loss, step, epoch, *rest: steps.append(epoch))
    known = encoded(texts, TextEncoder(base, store=None, device="cpu"))
    for epochs, steps_of_a_fold in (
        (2, 2),
        (None, 200),
    ):  # an epoch is one batch; without a number there are 200 at least
        declared = TextHead(tuned_layers=1, tuned_epochs=epochs, words=0, wide=False, folds=2)
        fit_head(declared, known, y, n_classes=4, folds=head_folds(y, None, None, 2, 0))
        assert len(steps) == 2 * steps_of_a_fold
        steps.clear()


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"tuned_epochs": 3}, "tuned_epochs=3 of a text head needs tuned_layers"),
        (
            {"tuned_epochs": 0, "tuned_layers": 1},
            "tuned_epochs of a text head must be a whole number of at least 1, not 0",
        ),
    ],
)
def test_a_number_of_epochs_is_one_at_least_and_needs_layers(options, wrong: str) -> None:
    with pytest.raises(ParameterError, match=wrong):
        TextHead(**options)


@pytest.mark.parametrize("options", [{"token_masking": 0.1}, {"token_masking": 0.6, "tuned_layers": 1}])
def test_a_share_of_hidden_words_is_no_more_than_half_and_needs_layers(options) -> None:
    with pytest.raises(
        ParameterError, match=r"token_masking=.* of a text head must lie in \[0, 0\.5\], and needs tuned_layers"
    ):
        TextHead(**options)


@pytest.mark.parametrize("options", [{"tuned_embeddings": True}, {"tuned_embeddings": 3, "tuned_layers": 1}])
def test_tuned_embeddings_need_layers(options) -> None:
    with pytest.raises(ParameterError, match=r"tuned_embeddings=.* must be True or False, and needs tuned_layers"):
        TextHead(**options)


def test_words_are_hidden_behind_a_mask_token(base: Path) -> None:
    texts, y = topics(60)
    with pytest.raises(ParameterError, match=r"token_masking needs a tokenizer with a mask token, and .* has none"):
        of_topics(base, tuned_layers=1, token_masking=0.1).fit(texts, y)


def test_an_object_has_no_layers() -> None:
    frame, y = topics(100)
    model = HybridClassifier(
        text={"text": "text"}, encoder=HashEncoder(), text_channels={"head": TextHead(tuned_layers=1)}, **TREES
    )
    with pytest.raises(EncoderError, match="HashEncoder"):
        model.fit(frame, y)


def test_more_layers_than_there_are(base: Path) -> None:
    frame, y = topics(100)
    model = HybridClassifier(
        text={"text": "text"}, encoder=str(base), text_channels={"head": TextHead(tuned_layers=3)}, **TREES
    )
    with pytest.raises(ParameterError, match="tuned_layers=3, but the model has 2 layers"):
        model.fit(frame, y)


def test_a_model_without_layers(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]"))
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    static.save(str(tmp_path / "static"), create_model_card=False)
    frame, y = topics(100)
    model = HybridClassifier(
        text={"text": "text"},
        encoder=str(tmp_path / "static"),
        text_channels={"head": TextHead(tuned_layers=1)},
        **TREES,
    )
    with pytest.raises(ParameterError, match="tuned_layers needs a transformer"):
        model.fit(frame, y)


@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_no_number_of_layers(value) -> None:
    with pytest.raises(ParameterError, match="tuned_layers of a text head"):
        TextHead(tuned_layers=value)


def test_a_loss_that_is_no_number_stops_the_training(base: Path) -> None:
    texts, y = topics(200)
    weight = np.ones(len(y))
    weight[3] = np.nan
    known = encoded(texts, TextEncoder(base, store=None, device="cpu"))
    folds = TunedFolds(known, ["text"], 1, y, weight, 4, CPU)
    with pytest.raises(TrainingError, match=r"loss of the text head is nan at step .* of epoch 1"):
        folds.train(np.arange(200), 0)


def test_a_weight_that_nobody_gave_is_not_blamed(base: Path) -> None:
    texts, y = topics(200)
    twice = np.repeat(np.arange(200), 2)
    known = encoded(texts[twice], TextEncoder(base, store=None, device="cpu"))
    start = TunedHead(["text"], 1, {"out.bias": torch.full((4,), torch.nan)})
    with pytest.raises(TrainingError, match="none is given"):
        TunedFolds(known, ["text"], 1, y[twice], None, 4, CPU, start).train(np.arange(400), 0)
