"""Match features: how well the texts of two roles agree, and whether they name the row's own brand or other attribute."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from features.frames import closest
from hybrid.attributes import attributes
from hybrid.corpus import K1, B, Corpus
from hybrid.encoder import Embedded
from hybrid.errors import ParameterError
from hybrid.matrix import Column, FeatureMatrix
from hybrid.mentions import Mentions
from hybrid.reading import Reading
from hybrid.terms import Terms

GROUP = "text match"
_WORDS = ("jaccard", "covered", "covers", "bm25", "bm25_share", "first_at", "asked")
MEASURES = ("cosine", *_WORDS, "neighbours", "runs", "numbers", "quantities", "quantities_differ")
"""Of each pair of roles, in the order of the columns."""
MENTIONS = ("named", "other_named")
"""Of each attribute and each role."""
_BLOCK = 256  # rows whose vectors stay in the processor's cache
_CUDA_BLOCK = 2_048  # rows whose vectors are gathered at once, a few MiB


@dataclass(frozen=True)
class Match:
    """What match features are made of.

    Each pair of text roles, in their declared order, always has its columns. Those of an attribute are to be asked for.

    Parameters
    ----------
    attributes : tuple of str, default ()
        Categorical columns whose values texts name, such as the brand.
    """

    attributes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.attributes, str):
            raise ParameterError(f"attributes={self.attributes!r} must be a list of columns: [{self.attributes!r}]")
        object.__setattr__(self, "attributes", tuple(self.attributes))


def match_columns(declared: Match, roles: Sequence[str]) -> tuple[Column, ...]:
    """Columns of every pair of roles in their declared order, then of every attribute with every role."""
    pairs = [(*pair, measure) for pair in itertools.combinations(roles, 2) for measure in MEASURES]
    named = [(*pair, what) for pair in itertools.product(declared.attributes, roles) for what in MENTIONS]
    return tuple(Column(f"{first}_x_{second}__{what}", GROUP) for first, second, what in (*pairs, *named))


class TextMatch:
    """Match features of pairs of roles and of attributes.

    For a pair, the first role's text is the query and the second's the document:

    - ``cosine`` of the embeddings.
    - ``jaccard``, ``covered``, ``covers``: shared words as a share of the words of both, of the query's, of the document's. A word is
      counted once, its plural is folded, and a Chinese character is a word.
    - ``bm25``: Okapi BM25 with k1 = 1.2 and b = 0.75 over the query's distinct words, where a word that n of the N fitted documents have
      weighs log(1 + (N - n + 0.5) / (n + 0.5)); ``bm25_share``: as a share of the most that it could be for this query.
    - ``first_at``: words of the document before the first shared one, as a share of its words.
    - ``asked``: distinct words of the query, which tells how much the shares are worth.
    - ``neighbours``: share of the query's pairs of adjacent words that the document has.
    - ``runs``: share of the query's runs of three characters, spaces and signs left out, that the document has.
    - ``numbers``, ``quantities``: shares of the query's numbers and of its numbers with a unit, whichever unit of the dimension it is,
      that the document has; ``quantities_differ``: share that it has in another value.

    The first six are 0 where nothing is shared or a text is empty. ``first_at`` is NaN where no word is shared, the last five where
    the query has nothing to look for: no two words, no three characters, no number, no quantity.

    For an attribute and a role: ``named`` is 1 where the text names the row's own value, ``other_named`` where it names another known
    value instead; else 0, and NaN where the row's value is missing or unknown.

    Parameters
    ----------
    declared : Match
    roles : sequence of str
    categories : mapping from column to values
        Known values of at least the attributes.
    corpora : mapping from role to Corpus
        Of every role but the first.
    """

    def __init__(
        self,
        declared: Match,
        roles: Sequence[str],
        categories: Mapping[str, Sequence[str]],
        corpora: Mapping[str, Corpus],
    ) -> None:
        for name in declared.attributes:
            if name not in categories:
                raise ParameterError(
                    f"match names the attribute {name!r}, which is no categorical column{closest(name, categories)}"
                )
        self.columns = match_columns(declared, roles)
        self._roles = tuple(roles)
        self._categories = {name: categories[name] for name in declared.attributes}
        self._mentions = {name: Mentions(known) for name, known in self._categories.items()}
        self._corpora = dict(corpora)

    @classmethod
    def fit(
        cls,
        declared: Match,
        texts: Mapping[str, pl.Series],
        embedded: Mapping[str, Embedded],
        categories: Mapping[str, Sequence[str]],
    ) -> TextMatch:
        """Learn the corpus statistics of the second roles' texts.

        Parameters
        ----------
        declared : Match
        texts : mapping from role to polars.Series of String, shape (n_rows,)
        embedded : mapping from role to Embedded
        categories : mapping from column to values
        """
        reading = Reading.of(texts, embedded)
        return cls(declared, tuple(texts), categories, {role: reading.corpus(role) for role in tuple(texts)[1:]})

    def matrix(
        self, texts: Mapping[str, pl.Series], embedded: Mapping[str, Embedded], examples: pl.DataFrame
    ) -> FeatureMatrix:
        """Match features, float32 of shape (n_rows, n_columns), where the vectors lie; a row's do not depend on other rows.

        Parameters
        ----------
        texts : mapping from role to polars.Series of String, shape (n_rows,)
        embedded : mapping from role to Embedded
            Vectors of the distinct texts, unit length or zero, and each row's index into them.
        examples : polars.DataFrame
            Has the attributes.
        """
        reading = Reading.of(texts, embedded)
        parts = []
        for first, second in itertools.combinations(self._roles, 2):
            pairs = _Pairs.of(reading.rows[first], reading.rows[second])
            parts.append(_cosine(embedded[first], embedded[second], pairs))
            parts.append(torch.from_numpy(_agreement(reading, self._corpora[second], pairs)))
        own = attributes(examples, self._categories, (), "examples").numpy()
        for i, mentions in enumerate(self._mentions.values()):
            value = np.where(np.isnan(own[:, i]), -1, own[:, i]).astype(np.int64)
            for role in self._roles:
                parts.append(torch.from_numpy(mentions.compare(reading.spaced, reading.rows[role], value)))
        device = embedded[self._roles[0]].vectors.device
        joined = torch.cat([part.to(device) for part in parts], dim=1)
        return FeatureMatrix(joined if joined.is_cuda else joined.numpy(), self.columns)

    def table(self) -> pl.DataFrame:
        """What was learned: ``role`` and the columns of ``Corpus.table``."""
        tables = [corpus.table().insert_column(0, pl.lit(role).alias("role")) for role, corpus in self._corpora.items()]
        return pl.concat([_NOTHING, *tables])

    @classmethod
    def restore(
        cls, declared: Match, roles: Sequence[str], categories: Mapping[str, Sequence[str]], table: pl.DataFrame
    ) -> TextMatch:
        """Read what ``table`` wrote."""
        corpora = {role: Corpus.from_table(table.filter(role=role).drop("role")) for role in roles[1:]}
        return cls(declared, roles, categories, corpora)


_NOTHING = pl.DataFrame(schema={"role": pl.String, "word": pl.String, "documents": pl.Int64, "n_words": pl.Int64})


@dataclass(frozen=True)
class _Pairs:
    """Distinct pairs of texts, and which of them each row has."""

    left: np.ndarray
    right: np.ndarray
    index: np.ndarray

    @classmethod
    def of(cls, left: np.ndarray, right: np.ndarray) -> _Pairs:
        width = int(right.max(initial=0)) + 1
        coded = pl.Series(left * width + right, dtype=pl.Int64).to_arrow().dictionary_encode()
        key = coded.dictionary.to_numpy()
        return cls(key // width, key % width, coded.indices.to_numpy())


def _agreement(reading: Reading, corpus: Corpus, pairs: _Pairs) -> np.ndarray:
    """All measures but the cosine, float32 of shape (n_rows, n_measures)."""
    measured = np.empty((len(pairs.left), len(MEASURES) - 1), dtype=np.float32)
    _measure_words(reading, corpus, pairs, out=measured[:, : len(_WORDS)])
    measured[:, -5] = _covered(reading.neighbours, pairs)
    measured[:, -4] = _covered(reading.runs, pairs)
    measured[:, -3:] = reading.quantities.compare(pairs.left, pairs.right)
    return measured[pairs.index]


def _covered(terms: Terms, pairs: _Pairs) -> np.ndarray:
    """Share of the first text's terms that the second has; NaN where it has none."""
    covered = np.full(len(pairs.left), np.nan)
    asked = np.flatnonzero(terms.sizes[pairs.left])
    left = pairs.left[asked]
    covered[asked] = terms.n_shared(left, pairs.right[asked]) / terms.sizes[left]
    return covered


def _measure_words(reading: Reading, corpus: Corpus, pairs: _Pairs, out: np.ndarray) -> None:
    """Fill in the measures of ``_WORDS``, all from one walk over the shared words."""
    terms, length = reading.words, reading.lengths
    idf = corpus.idf(reading.vocabulary)
    most = np.maximum(terms.totals(idf), np.finfo(float).tiny)
    # What each word of each text adds to the BM25 of a query that has it; single precision, so that sums are exact in any order.
    often = terms.counts.data
    saturation = np.repeat(K1 * (1 - B + B * length / corpus.mean_length), terms.sizes)
    gain = (idf[terms.counts.indices] * often * (K1 + 1) / (often + saturation)).astype(np.float32)
    for shared in terms.shared(pairs.left, pairs.right):
        left, right = pairs.left[shared.block], pairs.right[shared.block]
        n, n_left, n_right = shared.count(), terms.sizes[left], terms.sizes[right]
        first_at = np.full(len(left), np.nan)
        starts = np.flatnonzero(np.diff(shared.pair, prepend=-1))
        if len(starts):
            first_at[shared.pair[starts]] = np.minimum.reduceat(reading.first_at[shared.at], starts)
        bm25 = shared.sum(gain[shared.at])
        measures = (
            n / np.maximum(n_left + n_right - n, 1),
            n / np.maximum(n_left, 1),
            n / np.maximum(n_right, 1),
            bm25,
            bm25 / (most[left] * (K1 + 1)),
            first_at / np.maximum(length[right], 1),
            n_left,
        )
        for i, measure in enumerate(measures):
            out[shared.block, i] = measure


def _cosine(first: Embedded, second: Embedded, pairs: _Pairs) -> torch.Tensor:
    """One cosine a row, float32 of shape (n_rows, 1), where the vectors lie."""
    # Any row of each pair knows where its vectors are.
    row = np.empty(len(pairs.left), dtype=np.int64)
    row[pairs.index] = np.arange(len(pairs.index))
    left_at, right_at = first.index[row], second.index[row]
    if first.vectors.is_cuda:
        measured = torch.empty((len(row), 1), dtype=torch.float32, device=first.vectors.device)
        for start in range(0, len(row), _CUDA_BLOCK):
            block = slice(start, start + _CUDA_BLOCK)
            on_left = first.vectors[torch.from_numpy(left_at[block]).to(first.vectors.device)]
            on_right = second.vectors[torch.from_numpy(right_at[block]).to(second.vectors.device)]
            measured[block, 0] = (on_left * on_right).sum(dim=1)
        return measured[torch.from_numpy(pairs.index).to(measured.device)]
    # NumPy, not torch: torch 2.13 spreads each of these small steps over all threads, which costs more than the step when cores are busy.
    left, right = first.vectors.numpy(), second.vectors.numpy()
    cosine = np.empty((len(row), 1), dtype=np.float32)
    for start in range(0, len(row), _BLOCK):
        block = slice(start, start + _BLOCK)
        np.vecdot(left.take(left_at[block], axis=0), right.take(right_at[block], axis=0), out=cosine[block, 0])
    return torch.from_numpy(cosine[pairs.index])
