"""Fine-tuning: it learns what can be learned, says so honestly, goes on where it was stopped, and names what is wrong with its input."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from encoders import HashEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sklearn.metrics import ndcg_score
from tiny_bert import tiny_bert
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from typer.testing import CliRunner

from features.errors import ColumnError, EmptyFrameError
from hybrid import FineTuned, TextEncoder, finetune
from hybrid.errors import DeviceError, EncoderError, PairsError, ParameterError, TrainingError
from hybrid.finetuning.evaluation import HeldOut
from hybrid.finetuning.negatives import training_rows
from hybrid.finetuning.pairs import PairColumns, hold_out, read_pairs
from intentree.cli import app

WANTED, SOLD = [f"want{n}" for n in range(10)], [f"sold{n}" for n in range(10)]
START = datetime(2026, 1, 1)
FAST = {"epochs": 4, "batch_size": 16, "learning_rate": 5e-3, "evaluations": 1, "patience": None, "device": "cpu"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers that knows nothing yet, with 20 words."""
    return tiny_bert(tmp_path_factory.mktemp("base"), [*WANTED, *SOLD, "query", "item", ":"])


@pytest.fixture(scope="module")
def clicks() -> pl.DataFrame:
    """120 queries of three words; the item that answers has the three corresponding words, and eight others were shown."""
    draw = random.Random(0)
    wanted = draw.sample(list(itertools.combinations(range(10), 3)), 120)
    rows = []
    for number, query in enumerate(wanted):
        shown = [(query, True), *((other, False) for other in draw.sample([w for w in wanted if w != query], 8))]
        rows += [
            {
                "query": " ".join(WANTED[n] for n in query),
                "title": " ".join(SOLD[n] for n in item),
                "clicked": clicked,
                "ts": START + timedelta(hours=number),
            }
            for item, clicked in shown
        ]
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def tuned(base: Path, clicks: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    return finetune(str(base), clicks, tmp_path_factory.mktemp("tuned") / "shop", label="clicked", **FAST)


def ndcg_by_hand(encoder: TextEncoder, rows: pl.DataFrame) -> float:
    values = []
    for _, own in rows.group_by("query", maintain_order=True):
        score = encoder.encode(own["title"], role="item") @ encoder.encode(own["query"][:1], role="query")[0]
        values.append(ndcg_score([own["clicked"].cast(int)], [score], k=10))
    return float(np.mean(values))


# What it learns


def test_held_out_queries_are_ranked_better_and_the_folder_holds_that_encoder(
    base: Path, clicks: pl.DataFrame, tuned: FineTuned
) -> None:
    assert tuned.metric == "ndcg@10"
    assert tuned.improved
    assert tuned.after > tuned.before + 0.1
    assert tuned.gain_interval[0] > 0
    held = held_out_queries(clicks)
    assert held.height == 12 * 9
    assert tuned.before == pytest.approx(ndcg_by_hand(TextEncoder(base, store=None), held), abs=1e-6)
    assert tuned.after == pytest.approx(ndcg_by_hand(TextEncoder(tuned.folder, store=None), held), abs=1e-6)
    assert tuned.after == pytest.approx(tuned.evaluations["value"].max(), abs=1e-6)
    assert f"{tuned.before:.4f} before, {tuned.after:.4f} after" in tuned.verdict


def held_out_queries(clicks: pl.DataFrame) -> pl.DataFrame:
    rows = read_pairs(clicks, PairColumns("query", "title", "clicked", None), 1)
    held = hold_out(rows, 0.1, 1, 0).held_out["anchor"].unique()
    return clicks.filter(pl.col("query").is_in(held.implode()))


def test_the_folder_says_what_it_was_made_from(base: Path, tuned: FineTuned) -> None:
    record = json.loads((tuned.folder / "finetuning.json").read_text())
    assert record["base"] == {"model": str(base), "fingerprint": TextEncoder(base).fingerprint}
    assert (record["before"], record["after"]) == (tuned.before, tuned.after)
    assert record["training_pairs"] == 108
    assert record["held_out_queries"] == tuned.n_queries == 12
    assert record["settings"]["random_state"] == 0
    assert {"torch", "sentence-transformers", "transformers"} <= set(record["versions"])
    assert not list(tuned.folder.parent.glob(".*")), "no checkpoints are left"
    assert "want" not in "".join(p.read_text() for p in tuned.folder.glob("*.md")), (
        "no texts of the shop in a model card"
    )


def test_same_inputs_same_weights_and_the_process_draws_as_if_nothing_had_been(
    base: Path, clicks: pl.DataFrame, tuned: FineTuned, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = (torch.rand(1).item(), np.random.random(), random.random())
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    again = finetune(base, clicks.to_pandas(), tmp_path / "again", label="clicked", **FAST)
    assert (torch.rand(1).item(), np.random.random(), random.random()) == expected
    assert again.encoder.fingerprint == tuned.encoder.fingerprint
    assert again.evaluations.equals(tuned.evaluations)


def test_an_encoder_that_gets_no_better_is_kept_as_it_was(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    options = FAST | {"learning_rate": 1e-9, "epochs": 1}
    same = finetune(base, clicks, tmp_path / "same", label="clicked", **options)
    assert not same.improved
    assert same.after == same.before
    assert "no better, so the folder holds the encoder as it was" in same.verdict
    assert "learning_rate" in same.verdict
    texts = clicks["title"][:5]
    np.testing.assert_allclose(same.encoder.encode(texts), TextEncoder(base).encode(texts), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"lora": 8, "learning_rate": 2e-2},
        {"lora": 8, "freeze": 1, "learning_rate": 2e-2},
        {"mini_batch_size": 8, "max_tokens": 8, "matryoshka": [8]},
        {"loss": "grades"},
        {"loss": "grades", "matryoshka": [8]},
    ],
    ids=lambda options: " ".join(options),
)
def test_ways_to_train_all_learn(base: Path, clicks: pl.DataFrame, tmp_path: Path, options: dict) -> None:
    found = finetune(base, clicks, tmp_path / "out", label="clicked", **(FAST | options))
    assert found.after > found.before + 0.05
    assert found.after == pytest.approx(ndcg_by_hand(TextEncoder(found.folder), held_out_queries(clicks)), abs=1e-6)
    names = set(weights(found.folder))
    assert names == set(weights(base)), "merged: the same weights by name, no adapters"
    assert SentenceTransformer(str(found.folder), device="cpu").max_seq_length == 32


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return SentenceTransformer(str(folder), device="cpu").state_dict()


def test_frozen_layers_stay_as_they_are(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    found = finetune(base, clicks, tmp_path / "out", label="clicked", freeze=1, **FAST)
    assert found.improved
    before, after = weights(base), weights(found.folder)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".layer.1." in name for name in changed), changed


def test_matryoshka_makes_short_vectors_good(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    found = finetune(TextEncoder(base, dim=4), clicks, tmp_path / "out", label="clicked", matryoshka=[4], **FAST)
    assert found.encoder.dim == 4
    assert found.after > found.before
    assert found.after == pytest.approx(ndcg_by_hand(found.encoder, held_out_queries(clicks)), abs=1e-6)


def test_prompts_are_those_of_the_roles(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    encoder = TextEncoder(base, prompts={"query": "query : ", "item": "item : "})
    found = finetune(encoder, clicks, tmp_path / "out", label="clicked", **FAST)
    assert found.encoder.prompts == encoder.prompts
    alone = TextEncoder(tmp_path / "out", store=None)  # the folder says so itself
    assert [alone.prompt(role) for role in ("query", "item")] == ["query : ", "item : "]
    assert found.before == pytest.approx(ndcg_by_hand(encoder, held_out_queries(clicks)), abs=1e-6)
    assert found.after == pytest.approx(ndcg_by_hand(found.encoder, held_out_queries(clicks)), abs=1e-6)


def test_prompts_of_a_family_are_kept_in_a_folder_of_another_name(
    base: Path, clicks: pl.DataFrame, tmp_path: Path
) -> None:
    named = tmp_path / "multilingual-e5-small"
    shutil.copytree(base, named)
    assert TextEncoder(named).prompt("item") == "passage: "
    finetune(named, clicks, tmp_path / "shop", **FAST | {"epochs": 1})
    alone = TextEncoder(tmp_path / "shop", store=None)
    assert [alone.prompt(role) for role in ("query", "item", "title")] == ["query: ", "passage: ", "passage: "]


def test_a_static_model_and_classes_of_texts(tmp_path: Path) -> None:
    """Texts with a class: the readable name of the class is the positive, and is ranked among the names of all classes."""
    words = ["[UNK]", *WANTED, *SOLD]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.random.default_rng(0).standard_normal((len(words), 16)).astype(np.float32)
    static = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    texts = pl.DataFrame(
        [
            {"text": f"{WANTED[n]} {WANTED[m]}", "intent": SOLD[n]}
            for n in range(10)
            for m in range(10)
            if n != m
        ]
    )  # fmt: skip
    options = FAST | {"learning_rate": 0.1}
    found = finetune(tmp_path / "static", texts, tmp_path / "out", anchor="text", positive="intent", **options)
    assert found.metric == "mrr@10"
    assert found.after > found.before + 0.1
    with pytest.raises(ParameterError, match=r"freeze.*StaticEmbedding"):
        finetune(tmp_path / "static", texts, tmp_path / "b", anchor="text", positive="intent", freeze=1)


# A run that is stopped


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been(
    base: Path, clicks: pl.DataFrame, tuned: FineTuned, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []

    def stop(step: str, done: int, total: int) -> None:
        seen.append((step, done, total))
        if done == total // 2 + 2:
            raise KeyboardInterrupt

    call = {"label": "clicked", **FAST}
    with pytest.raises(KeyboardInterrupt):
        finetune(base, clicks, tmp_path / "shop", **call, progress=stop)
    assert not (tmp_path / "shop").exists()
    (tmp_path / ".shop-training" / "checkpoint-999").mkdir()  # as a kill while it is written leaves it
    total = seen[-1][2]
    assert seen == [("fine-tune", step, total) for step in range(1, total // 2 + 3)]
    seen.clear()
    resumed = finetune(base, clicks, tmp_path / "shop", **call, progress=lambda *step: seen.append(step))
    assert seen[0][1] == total // 2 + 1, "from the last evaluation"
    assert seen[-1] == ("fine-tune", total, total)
    assert resumed.encoder.fingerprint == tuned.encoder.fingerprint
    assert resumed.evaluations.equals(tuned.evaluations)


def test_another_run_does_not_go_on_with_foreign_checkpoints(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    def stop(step: str, done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(base, clicks, tmp_path / "shop", label="clicked", **FAST, progress=stop)
    first: list[int] = []
    options = FAST | {"epochs": 1, "random_state": 1}
    finetune(
        base, clicks, tmp_path / "shop", label="clicked", **options, progress=lambda _, done, __: first.append(done)
    )
    assert first[0] == 1


def test_patience_ends_the_training(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    options = FAST | {"learning_rate": 1e-9, "epochs": 20, "patience": 2}
    found = finetune(base, clicks, tmp_path / "out", label="clicked", **options)
    assert found.evaluations.height == 3


def test_a_loss_that_is_no_number_stops_with_its_step(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    options = FAST | {"learning_rate": 1e38}
    with pytest.raises(TrainingError, match=r"(at step \d+ of \d+|NaN or infinite vectors).*1e\+38.*tenth"):
        finetune(base, clicks, tmp_path / "out", label="clicked", **options)
    assert not (tmp_path / "out").exists()


# The rows


def test_no_query_is_on_both_sides_however_it_is_spelled() -> None:
    spelled = [spelling for n in range(50) for spelling in (f"halo {n}", f"Halo-{n}!", f" HALO  {n}")]
    frame = pl.DataFrame({"query": spelled, "title": [f"title {n % 7}" for n in range(150)]})
    rows = read_pairs(frame, PairColumns("query", "title", None, None), 1)
    split = hold_out(rows, 0.2, 1, 0)
    sides = [
        {"".join(c for c in q.lower() if c.isalnum()) for q in part["anchor"]} for part in (split.train, split.held_out)
    ]
    assert not sides[0] & sides[1]
    assert (len(sides[0]), len(sides[1])) == (40, 10)


def test_with_a_time_training_ends_where_the_held_out_queries_begin() -> None:
    days = [*range(100), 95]
    frame = pl.DataFrame(
        {
            "query": [*(f"query {n}" for n in range(100)), "query 3"],
            "title": [*(f"title {n}" for n in range(100)), "another title"],
            "ts": [START + timedelta(days=day) for day in days],
        }
    ).sample(fraction=1, shuffle=True, seed=0)
    rows = read_pairs(frame, PairColumns("query", "title", None, "ts"), 1)
    split = hold_out(rows, 0.1, 1, 0)
    assert sorted(split.held_out["anchor"]) == [f"query {n}" for n in range(90, 100)]
    assert sorted(split.train["anchor"]) == sorted(f"query {n}" for n in range(90))
    assert split.left_out == 1, "query 3 on day 95: it is trained on, but later"


def test_a_click_after_training_ends_is_no_positive_of_it() -> None:
    shown = [(f"query {n}", f"title {n % 5}", True, n) for n in range(20)]
    late = [("query 3", "other", False, 3), ("query 3", "other", True, 19)]
    frame = pl.DataFrame([*shown, *late], schema=["query", "title", "clicked", "day"], orient="row")
    train = hold_out(read_pairs(frame, PairColumns("query", "title", "clicked", "day"), 1), 0.1, 1, 0).train
    assert train.filter(anchor="query 3").sort("item").select("item", "label").rows() == [
        ("other", 0.0),
        ("title 3", 1.0),
    ]


def test_negatives_are_the_query_s_own_and_never_one_of_its_positives(clicks: pl.DataFrame) -> None:
    mixed = clicks.with_columns(
        clicked=pl.when(pl.int_range(pl.len()) % 9 == 1)
        .then(True)
        .otherwise("clicked")  # two positives, seven negatives
    )
    rows = read_pairs(mixed, PairColumns("query", "title", "clicked", None), 1)
    for n in (1, 3, 9):
        training = training_rows(rows, 1, n, 0)
        assert training.height == 240
        own_count = []
        for anchor, positive, *negatives in training.iter_rows():
            shown = mixed.filter(query=anchor)
            assert positive in shown.filter("clicked")["title"]
            assert len(set(negatives)) == n
            assert not set(negatives) & set(shown.filter("clicked")["title"])
            own_count.append(len(set(negatives) & set(shown.filter(~pl.col("clicked"))["title"])))
        assert min(own_count) >= min(n, 7)


def test_metrics_against_a_slow_truth() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "query": [f"q{n}" for n in range(30) for _ in range(15)],
            "title": [f"t{n}" for n in rng.permuted(np.tile(np.arange(40), (30, 1)), axis=1)[:, :15].ravel()],
            "grade": rng.integers(0, 4, 450),
        }
    )
    vectors = {text: rng.standard_normal(6) for text in {*frame["query"], *frame["title"]}}
    vectors = {text: vector / np.linalg.norm(vector) for text, vector in vectors.items()}

    def encode(texts: list[str], side: str) -> np.ndarray:
        assert all(text[0] == ("q" if side == "anchor" else "t") for text in texts)
        return np.array([vectors[text] for text in texts], dtype=np.float32)

    rows = read_pairs(frame, PairColumns("query", "title", "grade", None), 2)
    graded = HeldOut.of(rows, rows[:0], 2, 0)
    expected = [
        ndcg_score([own["grade"]], [[vectors[key] @ vectors[title] for title in own["title"]]], k=10)
        for (key,), own in frame.group_by("query", maintain_order=True)
    ]
    np.testing.assert_allclose(graded.values(encode), expected, atol=1e-5)
    assert graded.values(lambda texts, side: np.ones((len(texts), 2)) / 2**0.5).mean() < np.mean(expected), (
        "ties gain nothing"
    )

    answered = frame.filter(pl.col("grade") == 3).group_by("query", maintain_order=True).head(2)
    rows = read_pairs(answered, PairColumns("query", "title", None, None), 1)
    more = read_pairs(frame, PairColumns("query", "title", None, None), 1)
    ranked = HeldOut.of(rows, more, 1, 0)
    reciprocal = []
    for (key,), own in answered.group_by("query", maintain_order=True):
        order = sorted(set(frame["title"]), key=lambda title: -float(vectors[key] @ vectors[title]))
        positives = set(own["title"])
        best = min(order.index(title) for title in positives) + 1
        reciprocal.append(1 / best if best <= 10 else 0.0)
    assert ranked.metric == "mrr@10"
    np.testing.assert_allclose(ranked.values(encode), reciprocal, atol=1e-9)


@pytest.mark.parametrize("convert", [lambda f: f, pl.DataFrame.to_pandas, pl.DataFrame.to_arrow])
def test_frames_of_any_kind_give_the_same_rows(clicks: pl.DataFrame, convert) -> None:
    columns = PairColumns("query", ["title", "query"], "clicked", "ts")
    expected = read_pairs(clicks, columns, 1)
    assert read_pairs(convert(clicks), columns, 1).equals(expected)
    assert expected["item"][0] == f"{clicks['title'][0]}. {clicks['query'][0]}"


# Mistakes


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda f: f.rename({"query": "queries"}), {}, ColumnError, "pairs has no column 'query'; did you mean 'queries'"),
        (lambda f: f, {"label": "click"}, ColumnError, "no column 'click'; did you mean 'clicked'"),
        (lambda f: f, {"time": "when"}, ColumnError, "no column 'when'"),
        (lambda f: f.with_columns(title=pl.lit(3)), {}, ColumnError, "'title' of pairs must hold strings, not Int32"),
        (lambda f: f.with_columns(clicked=pl.lit("yes")), {}, PairsError, "label column 'clicked'.*not String"),
        (lambda f: f.with_columns(clicked=pl.lit(-1)), {}, PairsError, "1,080 values that are negative"),
        (lambda f: f.with_columns(clicked=pl.lit(float("nan"))), {}, PairsError, "not finite"),
        (lambda f: f, {"time": "title"}, PairsError, "time column 'title'.*not String"),
        (lambda f: f[:0], {}, EmptyFrameError, "pairs is empty"),
        (lambda f: f[:1], {}, PairsError, "1 distinct query with a positive.*1 of 1 rows are usable.*at least 10"),
        (lambda f: f.with_columns(query=pl.lit("  ")), {}, PairsError, "none of the 1,080 rows of pairs has a query in 'query'"),
        (lambda f: f.with_columns(query=pl.lit("shoe")), {}, PairsError, "1 distinct query"),
        (lambda f: f.with_columns(title=pl.lit("sold")), {}, PairsError, "all positives of pairs have one text in 'title', 'sold'"),
        (lambda f: f.with_columns(clicked=pl.lit(False)), {}, PairsError, "no positive.*highest label in 'clicked' is 0.0"),
        (lambda f: f.with_columns(ts=pl.lit(START)), {"time": "ts"}, PairsError, "fewer than two queries.*earlier than 2026"),
        (lambda f: f.lazy(), {}, ColumnError, "collect"),
        (lambda f: 3, {}, ColumnError, "not int"),
        (lambda f: f, {"epochs": 0}, ParameterError, "epochs must be a whole number of at least 1, not 0"),
        (lambda f: f, {"batch_size": 1}, ParameterError, "batch_size"),
        (lambda f: f, {"holdout": 0.9}, ParameterError, "holdout must be a number above 0.0 and at most 0.5, not 0.9"),
        (lambda f: f, {"learning_rate": 0}, ParameterError, "learning_rate"),
        (lambda f: f, {"learning_rate": float("nan")}, ParameterError, "learning_rate"),
        (lambda f: f, {"roles": "query"}, ParameterError, "roles must be two names"),
        (lambda f: f, {"matryoshka": [0]}, ParameterError, "matryoshka"),
        (lambda f: f, {"matryoshka": [64]}, ParameterError, "matryoshka has 64, but the model has 32"),
        (lambda f: f, {"freeze": 2}, ParameterError, "freeze=2, but the model has 2 layers"),
        (lambda f: f, {"device": "gpu"}, ParameterError, "device"),
        (lambda f: f, {"loss": "grade"}, ParameterError, "loss must be 'ranking' or 'grades', not 'grade'"),
        (lambda f: f, {"loss": "grades", "label": None}, ParameterError, "learns from labels: name their column"),
        (lambda f: f, {"loss": "grades", "mini_batch_size": 8}, ParameterError, "mini_batch_size is for loss='ranking'"),
        (lambda f: f.with_columns(clicked=True), {"loss": "grades"}, PairsError, "all 972 pairs to train on have the label 1"),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_any_work(base, clicks, tmp_path, make, options, error, message) -> None:
    with pytest.raises(error, match=message):
        finetune(base, make(clicks), tmp_path / "out", **{"label": "clicked", **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_that_is_not_there_is_an_error(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cuda"):
        finetune(base, clicks, tmp_path / "out", label="clicked", device="cuda")


def test_an_encoder_without_a_folder_is_refused(clicks: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"object of class encoders\.HashEncoder, not a sentence-transformers model"):
        finetune(TextEncoder(HashEncoder()), clicks, tmp_path / "out")


def test_a_dim_beyond_the_model_is_refused(base: Path, clicks: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"dim=64, but .* has 32 dimensions"):
        finetune(TextEncoder(base, dim=64), clicks, tmp_path / "out")


def test_places_that_are_taken_are_refused(base: Path, clicks: pl.DataFrame, tuned: FineTuned, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        with pytest.raises(EncoderError, match=f"{name} is there and holds no fine-tuned encoder"):
            finetune(base, clicks, tmp_path / name)
    with pytest.raises(EncoderError, match="is the encoder to fine-tune"):
        finetune(tuned.encoder, clicks, tuned.folder)


def test_without_its_packages_it_says_what_to_install(
    base: Path, clicks: pl.DataFrame, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("hybrid.finetuning.run.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"datasets and accelerate and peft: pip install 'intentree\[finetune\]'"):
        finetune(base, clicks, tmp_path / "out", lora=4)


# The command line


def test_the_verb_reads_one_toml_file(base: Path, clicks: pl.DataFrame, tuned: FineTuned, tmp_path: Path) -> None:
    clicks.write_parquet(tmp_path / "clicks.parquet")
    options = "\n".join(f"{name} = {json.dumps(value or False)}" for name, value in FAST.items())
    (tmp_path / "study.toml").write_text(
        f'[encoder]\nmodel = "{base}"\n[finetune]\npairs = "clicks.parquet"\nfolder = "shop"\nlabel = "clicked"\n{options}\n'
    )
    result = CliRunner().invoke(app, ["finetune", str(tmp_path / "study.toml")])
    assert result.exit_code == 0, result.stderr
    assert tuned.verdict in result.stdout
    assert f'[encoder]\nmodel = "{tmp_path / "shop"}"' in result.stdout
    assert TextEncoder(tmp_path / "shop").fingerprint == tuned.encoder.fingerprint
    (tmp_path / "study.toml").write_text(f'[encoder]\nmodel = "{base}"\n')
    refused = CliRunner().invoke(app, ["finetune", str(tmp_path / "study.toml")])
    assert refused.exit_code == 2
    assert "no table [finetune]" in refused.stderr
