"""The importance report: which evidence a model's scores rest on, how good they are, and how sure that is."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from hybrid.errors import ParameterError
from hybrid.languages import Sentence, languages, speaking
from hybrid.pages import render_in
from hybrid.reports.findings import answer
from hybrid.reports.markdown import markdown
from hybrid.reports.page import importance_page


@dataclass(frozen=True)
class Basis:
    """What the numbers of a report rest on.

    Parameters
    ----------
    rows : int
        Rows of the metrics and the calibration.
    class_rows : tuple of int
        Rows of each class.
    row_groups : int, optional
        Groups of rows (users, sessions) that intervals take as one; None where rows were taken as independent.
    sampled_rows, shap_rows : int
        Rows of permutation and ablation, and of SHAP.
    shap_gap : float
        How far the contributions of a row, the head's included, are from summing to its margin, at most.
    interaction_rows, effect_rows, slice_rows : int
    sampled_row_groups : int, optional
    n_repeats : int
        Permutations of each group; fewer of many rows.
    ablation_folds, rounds : int
        Folds of the ablation (0: none was made) and boosting rounds of each refit.
    no_ablation : str
        Why there is no ablation, or empty.
    costs : mapping
        Of a false positive and a false negative.
    reference_rows : int
        Training rows that these rows were compared with.
    """

    rows: int
    class_rows: tuple[int, ...]
    row_groups: int | None
    sampled_rows: int
    sampled_row_groups: int | None
    shap_rows: int
    shap_gap: float
    interaction_rows: int
    effect_rows: int
    slice_rows: int
    n_repeats: int
    ablation_folds: int
    rounds: int
    no_ablation: str
    costs: Mapping[str, float]
    reference_rows: int


@dataclass(frozen=True, eq=False)
class ImportanceReport:
    """Which evidence a model rests on, as Polars frames and as one page.

    Intervals hold 95 %, over rows, or over groups of rows where groups were given; NaN where a number is not defined. They are closed forms
    (`hybrid.reports.inference`) and take no resampling.

    Parameters
    ----------
    title : str
    classes : tuple
        Labels in code order.
    groups : polars.DataFrame
        ``group, shap, shap_error, shap_share, shap_share_low, shap_share_high, permutation, permutation_low, permutation_high,
        permutation_p, permutation_p_adjusted``, greatest SHAP first. ``shap`` is the mean over rows and margins of the absolute sum of the
        group's contributions, in margin units, ``shap_error`` its standard error;
        ``permutation`` the rise of the log loss when the group's columns are taken from another row, all together, mean over the repeats.
        Interval and p-value (one-sided: the rise is not above 0) cover the drawing of the rows, and of the rows that values are taken
        from; the trained model is held fixed. ``permutation_p_adjusted`` is corrected for the number of groups (Holm).
    by_class : polars.DataFrame
        ``class, group, shap, shap_share``: the same of each class's margin; with two classes, of the second one's.
    interactions : polars.DataFrame
        ``group, other, interaction, low, high, correlation``: each pair of groups once; see
        `hybrid.reports.interactions.interaction_table`.
    columns : polars.DataFrame
        ``column, group, gain, shap, shap_error``, greatest SHAP first; every column of the matrix.
    coordinates : polars.DataFrame
        ``coordinates, group, columns, gain, shap, shap_error``: runs of numbered columns (an embedding's coordinates) as one, by their sum.
    families : polars.DataFrame
        ``group, family, columns, gain, shap, shap_error``: families of behaviour features within each group, by the sum of their columns.
    distributions : polars.DataFrame
        ``column, group, missing, zero, least, q05, q25, median, q75, q95, most``: numeric columns but coordinates, of the sampled rows.
    effects : polars.DataFrame
        ``column, class, x, effect, rows``: accumulated local effects of the first twenty numeric columns; see
        `hybrid.reports.effects.effect_table`.
    value_effects : polars.DataFrame
        ``column, class, value, effect, rows``: effects of the values of categorical columns; see
        `hybrid.reports.effects.value_effect_table`.
    words : polars.DataFrame
        ``role, class, word, effect, texts, rows``: what leaving a word out of a text does to the score; see
        `hybrid.reports.words.word_table`.
    ablation : polars.DataFrame
        ``dropped, metric, value, low, high, difference, difference_low, difference_high``: models refitted without a group, by
        cross-fitting on the report's own rows. "none" comes first; a difference is the row's value less that of "none", paired row by row.
    metrics : polars.DataFrame
        ``model, metric, value, low, high, difference, difference_low, difference_high``: the model, the base rate and the baselines; a
        difference is the row's value less the model's, paired row by row.
    slices : polars.DataFrame
        ``slice, part, rows, metric, value, low, high, difference, difference_low, difference_high, difference_p, difference_p_adjusted``:
        log loss, ROC AUC (accuracy for many classes) and ``bias`` (mean prediction less what was observed; for many classes, of the
        predicted one) of each part of each slice. A difference is to all other rows; its p-value is two-sided, and corrected for the
        number of parts (Holm). The slice "found" holds what a tree on the loss found; see `hybrid.reports.slices.weak_slices`.
    strength : polars.DataFrame
        ``column, group, auc, suspicious``: how well each column orders the label alone; see `hybrid.reports.trust.strength_table`.
    drift : polars.DataFrame
        ``column, group, psi, missing_then, missing_now, gone``: against rows of the training; see `hybrid.reports.trust.drift_table`.
    domains : polars.DataFrame
        ``group, auc, low, high``: how well these rows are told from training rows by a group; see `hybrid.reports.trust.domain_table`.
    stability : polars.DataFrame
        ``fold, group, shap_share, rank, correlation``: the order of groups in the model (fold 0) and in refits; see
        `hybrid.reports.trust.stability_table`.
    calibration : polars.DataFrame
        ``class, mean_predicted, observed, low, high, rows``; see `hybrid.calibration.calibration_table`.
    expected_calibration_error, expected_calibration_error_low, expected_calibration_error_high : float
        With its interval.
    calibration_error_by_chance : float
        What a perfectly calibrated model would show on such rows at most, 19 times in 20.
    thresholds : polars.DataFrame
        ``threshold, flagged, precision, recall, cost``; two classes only. See `hybrid.reports.mistakes.threshold_table`.
    confusion : polars.DataFrame
        ``class, predicted, rows, share``: pairs of classes that occur; ``share`` is that of the class.
    gains : polars.DataFrame
        ``share, captured, low, high, lift``; two classes only. See `hybrid.reports.mistakes.gains_table`.
    ranking : polars.DataFrame
        ``model, metric, value, low, high, difference, difference_low, difference_high, queries``: ``ndcg_at_10`` and ``mrr`` over queries,
        where these were declared.
    examples : polars.DataFrame
        The hundred rows of the highest log loss: ``loss, label, predicted, probability`` (of the label), one column ``text: NAME`` for each
        column that was declared showable, cut at 200 characters, and one ``slice: NAME`` for each slice. No ids.
    misses : polars.DataFrame
        ``slice, part, misses, share, share_of_rows, p, p_adjusted``: parts of slices that hold more of these rows than of all, with the
        binomial probability of that, corrected for the number of parts (Holm).
    basis : Basis
    provenance : mapping
        Shown at the page's end.
    """

    title: str
    classes: tuple[Any, ...]
    groups: pl.DataFrame
    by_class: pl.DataFrame
    interactions: pl.DataFrame
    columns: pl.DataFrame
    coordinates: pl.DataFrame
    families: pl.DataFrame
    distributions: pl.DataFrame
    effects: pl.DataFrame
    value_effects: pl.DataFrame
    words: pl.DataFrame
    ablation: pl.DataFrame
    metrics: pl.DataFrame
    slices: pl.DataFrame
    strength: pl.DataFrame
    drift: pl.DataFrame
    domains: pl.DataFrame
    stability: pl.DataFrame
    calibration: pl.DataFrame
    expected_calibration_error: float
    expected_calibration_error_low: float
    expected_calibration_error_high: float
    calibration_error_by_chance: float
    thresholds: pl.DataFrame
    confusion: pl.DataFrame
    gains: pl.DataFrame
    ranking: pl.DataFrame
    examples: pl.DataFrame
    misses: pl.DataFrame
    basis: Basis
    provenance: Mapping[str, Any]

    @property
    def answer(self) -> list[str]:
        """The answer in a few paragraphs, made from the numbers, in the language of `hybrid.languages.speaking`."""
        return answer(self)

    def save(self, path: str | Path, *, lang: str = "en") -> Path:
        """Write the report as one self-contained HTML file, under 5 MB, or its numbers as JSON.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html`` or ``.json``; its folder is made where it is missing. The JSON holds every frame as lists by column, and
            null where a number is not defined.
        lang : {"en", "zh", "both"}, default "en"
            The page's language: English, Chinese, or both under a switch. JSON has the answer in the first of them.

        Returns
        -------
        Path

        Raises
        ------
        ParameterError
            Another ending or language.
        """
        path = Path(path)
        writers = {".html": _html, ".json": _json}
        if path.suffix.lower() not in writers:
            raise ParameterError(
                f"a report is saved as .html or .json, not as {path.name!r}; its tables are Polars frames, to be written as you like"
            )
        written = writers[path.suffix.lower()](self, lang)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written, encoding="utf-8")
        return path

    def with_provenance(self, more: Mapping[str, Any]) -> ImportanceReport:
        """The report with more said of where it comes from."""
        return dataclasses.replace(self, provenance={**self.provenance, **more})

    def to_markdown(self, *, lang: str = "en") -> str:
        """The page as Markdown, without its charts; both languages one below the other for "both"."""
        editions = []
        for spoken in languages(lang):
            with speaking(spoken):
                editions.append(markdown(importance_page(self)))
        return "\n".join(editions)


def _html(report: ImportanceReport, lang: str) -> str:
    return render_in(lang, partial(importance_page, report))


def _json(report: ImportanceReport, lang: str) -> str:
    fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    with speaking(languages(lang)[0]):
        told = {"answer": report.answer, **{name: _plain(value) for name, value in fields.items()}}
    return json.dumps(told, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, Sentence):
        return str(value)
    if isinstance(value, pl.DataFrame):
        return {column.name: [_plain(one) for one in column.to_list()] for column in value}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
