"""Match features, each held to a few lines of plain Python row by row."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections import Counter

import numpy as np
import polars as pl
import pytest
from encoders import HashEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import FAST

from hybrid import HybridClassifier, ParameterError, TextEncoder, load
from hybrid.match import MEASURES, Match, TextMatch
from hybrid.texts import normalised, singular, words

NAN = math.nan
ENCODER = TextEncoder(HashEncoder(), store=None)
QUERIES = ["xbox360", "X box 360", "red shoes", "shoe red", "boxes", "苹果iPhone15手机壳", "", None, "wireless mouse",
           "the the red", "  ", "!!"]  # fmt: skip
TITLES = [
    "Xbox 360 console", "Red running SHOE, shoe", "shoe (red)", "Box of batteries", "苹果 iphone15 手机保护壳", "手机壳", None, "red",
    "Wireless optical mouse; wireless", "ＸＢＯＸ３６０", "", "The red and the blue",
]  # fmt: skip


def plain_words(text: str | None) -> list[str]:
    """Words of a text, one character after the other."""
    found, run = [], ""
    for character in unicodedata.normalize("NFKC", text or "").lower() + " ":
        han = "\u4e00" <= character <= "\u9fff"
        if not han and unicodedata.category(character)[0] in "LMN":
            run += character
            continue
        found += [run] if run else []
        run = ""
        found += [character] if han else []
    return [plain_singular(word) for word in found]


def plain_singular(word: str) -> str:
    if not (word.isascii() and word.isalpha()):
        return word
    for ending in ("ies", "ie"):
        if word.endswith(ending) and len(word) >= len(ending) + 2:
            return word[: -len(ending)] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zzes")) and word not in ("ches", "shes", "sses", "xes", "zzes"):
        word = word[:-2]
    return word[:-1] if len(word) > 2 and word.endswith("s") and word[-2] not in "sui" else word


def truth(query: str | None, title: str | None, documents: set[str]) -> dict[str, float]:
    """Measures of one pair."""
    asked, said = plain_words(query), plain_words(title)
    corpus = [plain_words(text) for text in documents if plain_words(text)]
    shared = set(asked) & set(said)

    def idf(word: str) -> float:
        n = sum(word in document for document in corpus)
        return math.log(1 + (len(corpus) - n + 0.5) / (n + 0.5))

    mean = sum(map(len, corpus)) / len(corpus) if corpus else 1
    often = Counter(said)
    bm25 = sum(
        idf(word) * often[word] * 2.2 / (often[word] + 1.2 * (0.25 + 0.75 * len(said) / mean)) for word in shared
    )
    whole = sum(map(idf, set(asked)))
    pairs, runs = (
        (set(itertools.pairwise(asked)), set(itertools.pairwise(said))),
        tuple({glued[i : i + 3] for i in range(len(glued) - 2)} for glued in map(glue, (query, title))),
    )
    a, b = (ENCODER.encode([text])[0] for text in (query, title))
    return {
        "cosine": float(a @ b),
        "jaccard": len(shared) / max(len(set(asked) | set(said)), 1),
        "covered": len(shared) / max(len(set(asked)), 1),
        "covers": len(shared) / max(len(set(said)), 1),
        "bm25": bm25,
        "bm25_share": bm25 / (2.2 * whole) if whole else 0,
        "first_at": min(map(said.index, shared)) / len(said) if shared else NAN,
        "asked": len(set(asked)),
        "neighbours": len(pairs[0] & pairs[1]) / len(pairs[0]) if pairs[0] else NAN,
        "runs": len(runs[0] & runs[1]) / len(runs[0]) if runs[0] else NAN,
    }


def glue(text: str | None) -> str:
    normal = unicodedata.normalize("NFKC", text or "").lower()
    return "".join(character for character in normal if unicodedata.category(character)[0] in "LMN")


def fitted(texts: dict[str, list[str | None]]) -> TextMatch:
    return TextMatch.fit(Match(), *given_texts(texts), {})


def given_texts(texts: dict[str, list[str | None]]):
    series = {role: pl.Series(values, dtype=pl.String) for role, values in texts.items()}
    return series, {role: ENCODER.encode_distinct(text, device="cpu") for role, text in series.items()}


def matrix(match: TextMatch, texts: dict[str, list[str | None]]) -> np.ndarray:
    return match.matrix(*given_texts(texts), pl.DataFrame()).numpy()


def test_every_measure_of_every_pair_of_some_texts():
    pairs = [(query, title) for query in QUERIES for title in TITLES]
    texts = {"query": [query for query, _ in pairs], "title": [title for _, title in pairs]}
    match = fitted(texts)
    measured = matrix(match, texts)
    assert [column.name for column in match.columns] == [f"query_x_title__{measure}" for measure in MEASURES]
    for (query, title), row in zip(pairs, measured, strict=True):
        expected = truth(query, title, {title for title in TITLES if title})
        got = dict(zip(MEASURES, row.tolist(), strict=True))
        assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-6, nan_ok=True), (query, title)


odd = st.lists(
    st.sampled_from(["red", "Shoes", "shoe", " ", "\n", "\t ", "🙂", "苹果", "手机", "iPhone15", "ＡＢＣ", "é", "e\u0301",
                     "ﬁ", "ß", ".", "-", "\u200d", "हिन्दी", "ไทย", "عربي", "x" * 50, "12", "\x00", "👩\u200d👧", "한국", "カナ"]),
    max_size=12,
).map("".join)  # fmt: skip


@given(st.lists(st.tuples(odd, odd), min_size=1, max_size=8), st.lists(odd, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_odd_texts_have_the_measures_of_plain_python(pairs, documents):
    match = fitted({"query": documents, "title": documents})
    measured = matrix(match, {"query": [query for query, _ in pairs], "title": [title for _, title in pairs]})
    for (query, title), row in zip(pairs, measured, strict=True):
        expected = truth(query, title, {text for text in documents if text.strip()})
        got = dict(zip(MEASURES, row.tolist(), strict=True))
        assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-5, nan_ok=True)


@given(st.lists(st.tuples(st.text(max_size=40), st.none() | odd), min_size=2, max_size=10), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_a_row_does_not_depend_on_the_other_rows(pairs, cut):
    def texts(part: list[tuple[str, str | None]]) -> dict[str, list[str | None]]:
        return {"query": [query for query, _ in part], "title": [title for _, title in part]}

    match = fitted(texts(pairs))
    cut = min(cut, len(pairs) - 1)
    whole = matrix(match, texts(pairs))
    parts = np.concatenate([matrix(match, texts(pairs[:cut])), matrix(match, texts(pairs[cut:]))])
    np.testing.assert_array_equal(whole, parts)


def test_texts_of_ten_thousand_characters_in_many_rows():
    long = "red shoes 手机 12 in. " * 500
    texts = {"query": [long, "red", long] * 400, "title": ["shoes", long, long] * 400}
    measured = matrix(fitted(texts), texts)
    assert (measured[2::3, 1] == 1).all()
    np.testing.assert_array_equal(measured[:3], measured[-3:])


def test_three_roles_have_three_pairs_and_one_role_none():
    texts = {"query": ["red shoe"], "title": ["blue shoe"], "text": ["red"]}
    match = fitted(texts)
    names = [column.name.split("__")[0] for column in match.columns]
    assert list(dict.fromkeys(names)) == ["query_x_title", "query_x_text", "title_x_text"]
    assert matrix(match, texts).shape == (1, 3 * len(MEASURES))
    assert fitted({"query": ["red shoe"]}).columns == ()


@pytest.mark.parametrize(
    ("word", "form"),
    [("boxes", "box"), ("movies", "movy"), ("movie", "movy"), ("batteries", "battery"), ("shoes", "shoe"), ("tvs", "tv"),
     ("glass", "glass"), ("bus", "bus"), ("basis", "basis"), ("sizes", "size"), ("dresses", "dress"), ("benches", "bench"), ("ties", "tie"),
     ("s", "s"), ("as", "as"), ("2s", "2s"), ("手", "手")],
)  # fmt: skip
def test_plurals_and_singulars_become_one_form(word, form):
    assert singular(pl.Series([word])).to_list() == [form]


def test_full_width_forms_mixed_scripts_and_fractions_are_read_as_words():
    texts = pl.Series(["苹果iPhone15手机壳", "ＸＢＯＸ　３６０", "3½ inch", "e\u0301té", None])
    expected = [["苹", "果", "iphone15", "手", "机", "壳"], ["xbox", "360"], ["3", "1", "2", "inch"], ["été"], []]
    assert words(normalised(texts)).to_list() == expected


BRANDS = ["Apple", "Black", "Black & Decker", "HP", "hp", "三星", "&&"]


@pytest.mark.parametrize(
    ("text", "brand", "named", "other"),
    [
        ("APPLES, please", "Apple", 1, 0),
        ("pineapple", "Apple", 0, 0),
        ("apple or hp", "HP", 1, 0),
        ("apple or hp", "hp", 1, 0),
        ("apple", "HP", 0, 1),
        ("black decker drill", "Black & Decker", 1, 0),
        ("black decker drill", "Black", 0, 1),
        ("black drill", "Black", 1, 0),
        ("三星手机", "三星", 1, 0),
        ("hp hp", "Apple", 0, 1),
        (None, "Apple", 0, 0),
        ("apple", None, NAN, NAN),
        ("apple", "Sony", NAN, NAN),
        ("apple &&", "&&", NAN, NAN),
    ],
)
def test_texts_name_the_rows_own_attribute_or_another(text, brand, named, other):
    texts, embedded = given_texts({"query": [text, "something else"]})
    match = TextMatch.fit(Match(attributes=["brand"]), texts, embedded, {"brand": BRANDS, "colour": ["red"]})
    assert [column.name for column in match.columns] == ["brand_x_query__named", "brand_x_query__other_named"]
    measured = match.matrix(texts, embedded, pl.DataFrame({"brand": [brand, "Apple"]})).numpy()
    assert measured.tolist() == [pytest.approx([named, other], nan_ok=True), [0, 0]]


def test_an_attribute_that_is_no_categorical_column_is_refused():
    texts, embedded = given_texts({"query": ["red"]})
    with pytest.raises(ParameterError, match=r"'brant', which is no categorical column.*brand"):
        TextMatch.fit(Match(attributes=("brant",)), texts, embedded, {"brand": BRANDS})
    with pytest.raises(ParameterError, match="list of columns"):
        Match(attributes="brand")


def test_what_was_learned_comes_back_from_its_table():
    texts = {"query": QUERIES, "title": TITLES, "brand": TITLES[::-1]}
    match = fitted(texts)
    again = TextMatch.restore(Match(), tuple(texts), {}, match.table())
    other = {role: values[3:] for role, values in texts.items()}
    np.testing.assert_array_equal(matrix(again, other), matrix(match, other))
    nothing = {role: [None] for role in texts}
    np.testing.assert_array_equal(
        matrix(TextMatch.restore(Match(), tuple(texts), {}, fitted(nothing).table()), texts),
        matrix(fitted(nothing), texts),
    )


def test_an_artifact_keeps_the_corpus_of_the_fit(tmp_path):
    X = pl.DataFrame({"query": QUERIES * 4, "title": TITLES * 4})
    y = np.arange(len(X)) % 2
    model = HybridClassifier(text={"query": "query", "title": "title"}, encoder=ENCODER, **FAST).fit(X, y)
    model.save(tmp_path / "artifact")
    loaded = load(tmp_path / "artifact", encoder=ENCODER)
    own = model.matrix(X).positions("text match")
    np.testing.assert_array_equal(loaded.matrix(X[:5]).numpy()[:, own], model.matrix(X).numpy()[:5, own])
