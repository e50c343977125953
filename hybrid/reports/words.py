"""Which words push scores up and down: what a score loses when a word is left out of a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from hybrid.head.choice import with_head
from hybrid.languages import gloss, say
from hybrid.numerals import count, decimals_to_scale, number
from hybrid.pages import Block, Cell, Table
from hybrid.reports.importance import sample_rows
from hybrid.texts import normalised, role_text, words

if TYPE_CHECKING:
    from hybrid.classifier import HybridClassifier
    from hybrid.reports.report import ImportanceReport

ROWS = 100_000
"""Rows at most that words are looked for in."""
TEXTS = 100
"""Texts of each role that words are left out of."""
MOST_WORDS = 6
"""Words of one text that are left out, one at a time."""
FEWEST = 10
"""A word is shown where so many rows hold it, and so many groups of rows."""
_SHOWN, _FEWEST_TRIED = 10, 3
# As `hybrid.texts.WORD`, which is of a dialect that Python's own module does not read: a Chinese character is a word of its own.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")

WORDS = {
    "role": pl.String,
    "class": pl.String,
    "word": pl.String,
    "effect": pl.Float64,
    "texts": pl.Int64,
    "rows": pl.Int64,
}


def word_table(
    model: HybridClassifier, frame: pl.DataFrame, groups: np.ndarray | None, random_state: int
) -> pl.DataFrame:
    """Leave words out of texts, one at a time, and see what the scores lose.

    For each text role, 100 rows with distinct texts are drawn, and in each text at most 6 words that may be shown; so at most 600 texts a
    role are encoded anew. A row's other texts, attributes and behaviour stay as they are.

    A word may be shown where at least 10 rows of the report hold it, and rows of at least 10 groups where rows have groups: what fewer
    people wrote could name one of them. Of more than 100,000 rows so many are drawn, and those alone are counted. Texts themselves are not
    shown.

    Parameters
    ----------
    model : HybridClassifier
        Fitted, over the log that the report reads.
    frame : polars.DataFrame of n_rows examples
    groups : numpy.ndarray of int64, shape (n_rows,), optional
    random_state : int

    Returns
    -------
    polars.DataFrame
        ``role, class, word, effect, texts, rows``: the mean margin with the word less that without it, over ``texts`` texts; the greatest
        effects first in each role. ``rows`` of those counted hold the word. With more than two classes, the margin is that of the class
        that each row is predicted as, and a word stands once for each such class.
    """
    drawn = sample_rows(frame.height, groups, ROWS, random_state)
    frame, groups = frame[drawn], None if groups is None else groups[drawn]
    parts = [_role(model, frame, role, groups, random_state) for role in model.builder_.evidence.text]
    return pl.concat(parts) if parts else pl.DataFrame(schema=WORDS)


def words_blocks(report: ImportanceReport) -> list[Block]:
    """The words of the greatest effects, up and down, for each role."""
    if report.words.filter(pl.col("texts") >= _FEWEST_TRIED).is_empty():
        return []
    of_class = len(report.classes) > 2
    rows: list[list[str | Cell]] = []
    places = decimals_to_scale(float(np.abs(report.words["effect"].to_numpy()).max()))
    tried = report.words.filter(pl.col("texts") >= _FEWEST_TRIED)
    for part in tried.partition_by("role", maintain_order=True):
        part = part.sort("effect", descending=True, maintain_order=True)
        up, down = part.filter(pl.col("effect") > 0).head(_SHOWN), part.filter(pl.col("effect") < 0).tail(_SHOWN)
        for row in pl.concat([up, down]).iter_rows(named=True):
            cells: list[str | Cell] = [
                row["word"],
                gloss(row["role"]),
                number(row["effect"], decimals=places),
                count(row["texts"]),
            ]
            rows.append([*cells, row["class"]] if of_class else cells)
    caption = say(
        "Words that push scores up, and down, most: what the margin loses on average when the word is left out of a text, all else as it "
        "is. From {texts} texts of each role at most. Shown are words that {tried} of these texts and {rows} rows or more hold, and no "
        "texts.",
        texts=TEXTS,
        tried=_FEWEST_TRIED,
        rows=FEWEST,
    )
    header = [say("word"), say("role"), say("effect"), say("texts tried")]
    return [Table(caption, [*header, say("class")] if of_class else header, rows, words=(0, 1, 4))]


def _role(
    model: HybridClassifier, frame: pl.DataFrame, role: str, groups: np.ndarray | None, random_state: int
) -> pl.DataFrame:
    text = role_text(frame, model.builder_.evidence.text[role], "examples")
    common = _common_words(text, groups)
    rng = np.random.default_rng(random_state)
    first = (
        pl.DataFrame({"text": text})
        .with_row_index("row")
        .drop_nulls()
        .unique("text", keep="first", maintain_order=True)
    )
    drawn = np.sort(rng.permutation(first["row"].to_numpy())[:TEXTS]).astype(np.int64)
    occluded = _occluded(text.gather(drawn), drawn, set(common["word"]), rng)
    if occluded.is_empty():
        return pl.DataFrame(schema=WORDS)
    before = _margins(model, frame[drawn], {})
    after = _margins(model, frame[occluded["row"].to_numpy()], {role: occluded["text"]})
    place = np.searchsorted(drawn, occluded["row"].to_numpy())
    predicted = before.argmax(axis=1)[place] if before.shape[1] > 1 else np.zeros(len(place), dtype=np.int64)
    lost = (before[place] - after)[np.arange(len(place)), predicted]
    labels = [str(label) for label in (model.classes_[1:] if len(model.classes_) == 2 else model.classes_).tolist()]
    found = occluded.with_columns(
        effect=pl.Series(lost), **{"class": pl.Series([labels[k] for k in predicted], dtype=pl.String)}
    )
    table = found.group_by("word", "class", maintain_order=True).agg(
        pl.col("effect").mean(), texts=pl.len().cast(pl.Int64)
    )
    table = table.join(common, on="word", maintain_order="left").with_columns(role=pl.lit(role))
    return table.sort(pl.col("effect").abs(), descending=True, maintain_order=True).select(list(WORDS))


def _common_words(text: pl.Series, groups: np.ndarray | None) -> pl.DataFrame:
    """``word, rows``: words that may be shown."""
    units = pl.Series("unit", np.arange(len(text)) if groups is None else groups)
    held = pl.DataFrame({"word": words(normalised(text)).list.unique(), "unit": units}).explode("word").drop_nulls()
    counted = held.group_by("word").agg(rows=pl.len().cast(pl.Int64), units=pl.col("unit").n_unique())
    return counted.filter((pl.col("rows") >= FEWEST) & (pl.col("units") >= FEWEST)).select("word", "rows").sort("word")


def _occluded(text: pl.Series, rows: np.ndarray, shown: set[str], rng: np.random.Generator) -> pl.DataFrame:
    """``row, word, text``: the texts without one of their words each; null where nothing is left."""
    made: list[tuple[int, str, str | None]] = []
    held = words(normalised(text)).list.unique(maintain_order=True).to_list()
    for row, whole, all_words in zip(rows.tolist(), text.to_list(), held, strict=True):
        known = [word for word in all_words if word in shown]
        for word in [known[i] for i in rng.permutation(len(known))[:MOST_WORDS]]:
            left = _without(whole, word)
            if left != whole:
                made.append((row, word, left if left.strip() else None))
    return pl.DataFrame(made, schema={"row": pl.Int64, "word": pl.String, "text": pl.String}, orient="row")


def _without(text: str, word: str) -> str:
    def kept(found: re.Match[str]) -> str:
        return " " if _plain(found[0]) == word else found[0]

    return _WORD.sub(kept, text)


def _plain(word: str) -> str:
    return unicodedata.normalize("NFKC", word).lower()


def _margins(model: HybridClassifier, frame: pl.DataFrame, replaced: Mapping[str, pl.Series]) -> np.ndarray:
    """Margins of rows, float64 of shape (n_rows, n_margins), with other texts in some roles."""
    builder = model.builder_
    assert builder.encoder is not None
    encoded = builder.encode(frame)
    embedded = {
        role: builder.encoder.encode_distinct(text, role=role, device=builder.device) for role, text in replaced.items()
    }
    encoded = replace(encoded, texts={**encoded.texts, **replaced}, embedded={**encoded.embedded, **embedded})
    matrix = builder.join(frame, encoded)
    if builder.head is not None:
        matrix = with_head(matrix, builder.head.logits(encoded), builder.head, builder.head_mode, builder.labels)
    return model.booster_.margin(model.select(matrix)).astype(np.float64)
