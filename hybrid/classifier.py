"""The hybrid classifier: text and behaviour joined into one matrix, boosted trees on top."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from features import BehaviorFeatures, LabelStatistics
from features.event_log import microseconds
from features.frames import Frame, answer_in_kind, closest
from hybrid.artifact import save, versions
from hybrid.boosters import Booster, TreeParameters, booster_class
from hybrid.builder import MatrixBuilder, Progress
from hybrid.calibrator import CALIBRATIONS, Calibrator
from hybrid.channels import AUTO, TextChannels
from hybrid.device import resolve_device
from hybrid.encoded_texts import EncodedTexts
from hybrid.encoder import TextEncoder
from hybrid.errors import ParameterError
from hybrid.head import HeadFit, fit_head
from hybrid.head.choice import AS_DECLARED, NO_HEAD, HeadChoice, choose, splits_to_compare, with_head
from hybrid.head.folds import head_folds
from hybrid.holdout import hold_out
from hybrid.label_columns import held_apart
from hybrid.labels import as_labels, encode, row_weights
from hybrid.languages import Sentence, message
from hybrid.matrix import TEXT_HEAD, FeatureMatrix
from hybrid.metrics import metric
from hybrid.reference import Reference
from hybrid.reports import ImportanceReport, importance_report
from hybrid.reports.builder import check_options
from hybrid.reports.mistakes import costs_of
from hybrid.reports.subject import (
    baseline_probabilities,
    declared_slices,
    fingerprint,
    probabilities,
    query_codes,
    row_groups,
    showable_categories,
    shown_texts,
    with_events,
)
from hybrid.reports.words import word_table
from hybrid.transfer import adapt

_PATIENCE = 20  # rounds, where ways of the head are compared


class HybridClassifier(ClassifierMixin, BaseEstimator):
    """Predict intent from text and behaviour.

    Parameters
    ----------
    text : mapping from role to column or list of columns, optional
        Texts to embed, such as ``{"query": "query", "item": ["title", "description"]}``; several columns are joined with ". ".
    behavior : BehaviorFeatures, optional
        Declared, not fitted: ``fit`` fits a copy to its ``events``.
    categorical, numeric : sequence of str, default ()
        Attributes of the examples. Values that training did not see count as missing.
    encoder : TextEncoder, str, Path or object with ``.encode``, default "all-MiniLM-L6-v2"
    label_statistics : LabelStatistics, optional
        How often other rows of a key had each label, as columns of the group "label statistics". Of two classes it is the mean of being
        the second of ``classes_``; of more each class has a mean, 16 classes at most. Training rows have them out of time or out of
        fold, all other rows from the training rows' labels. Every label counts 1, whatever its weight.
    booster : {"xgboost", "lightgbm"}, default "xgboost"
    device : {"auto", "cpu", "cuda"}, default "auto"
        ``"cuda"`` where there is none is an error.
    head : {"auto", "margin", "feature"} or None, default "auto"
        How the text head enters the trees: its logits are where they start from, or columns that they read; None for no head.
        "auto" compares the three by held-out log loss and ``head_`` says what it chose, and why.
    text_channels : mapping from channel to setting, optional
        What is not named stays at its default.

        - ``"match"``: False for none, or ``Match(...)``: how well the texts of each two roles agree, and whether they name the
          row's own brand or other attributes.
        - ``"coordinates"``: how many of each role's embedding, by default 32, 0 for none; or ``Coordinates(...)`` for numbers by role
          and for truncation in place of principal axes.
        - ``"head"``: False for none, or ``TextHead(...)`` for its roles and size.
        - ``"recent_interest"``: how many of the user's last events make it, default 0. Above 0 the events must carry the columns of
          the role "item".
    feature_weights : mapping from group to weight, optional
        How often columns of a group are drawn next to others where ``colsample`` is below 1, default 1: 0.2 for ``"query text"`` keeps
        many coordinates from drowning the rest. XGBoost only.
    without : sequence of str, default ()
        Groups of columns to leave out.
    n_estimators : int, default 1000
        Boosting rounds at most.
    learning_rate, max_depth, min_child_weight, subsample, colsample, reg_lambda, reg_alpha : float or int
        As in ``TreeParameters``.
    max_bin : int, default 256
    early_stopping_rounds : int or None, default 50
        Stop when ``eval_metric`` has not improved on ``eval_set`` for so many rounds. Without an ``eval_set``, a tenth of the rows is
        held out (whole ``groups``; else the latest, where there are timestamps; else stratified) to find the number of rounds, and
        the trees are then grown on all rows. None: always ``n_estimators`` rounds.
    eval_metric : str, default "log_loss"
        By scikit-learn's name: "log_loss", "roc_auc", "average_precision", "accuracy".
    class_weight : {"balanced"}, mapping from label to weight, or None, default None
    calibration : {"temperature"} or None, default None
        "temperature": margins are divided by one temperature and get a bias for each class before they become probabilities, which mends
        what class weights do to these and scores that are too sure. Fitted on ``eval_set``, or on the tenth of the rows that is held out,
        with the margins of trees that did not see them; then also without ``early_stopping_rounds``.
    booster_params : mapping, optional
        Parameters of the library itself; they win over the ones above.
    random_state : int, default 0
    n_jobs : int, optional
        Threads; default all cores.

    Attributes
    ----------
    classes_ : numpy.ndarray of shape (n_classes,)
        The labels, sorted, in the type they came in; columns of ``predict_proba`` follow them.
    booster_ : Booster
        Its ``calibrator`` holds the temperature and the biases, where there is calibration.
    builder_ : MatrixBuilder
    columns_ : tuple of Column
        Name and group of each column that the trees read.
    head_ : HeadChoice
        How the head enters (``mode``), why (``reason``), and the losses that were compared.
    adaptation_ : Adaptation
        Only of a model that ``adapt`` returned: how it was carried over.
    devices_ : dict
        The device that encoded texts and the one that grew the trees, as really used.
    reference_ : Reference
        Up to 2,000 rows of the training matrix, which reports compare other rows with.
    timings_ : dict
        Seconds of each step of ``fit``.

    Examples
    --------
    >>> import polars as pl
    >>> frame = pl.DataFrame({"price": [1.0, 2.0, 8.0, 9.0] * 20})
    >>> model = HybridClassifier(numeric=["price"], n_estimators=20, early_stopping_rounds=None)
    >>> model.fit(frame, ["cheap", "cheap", "dear", "dear"] * 20).predict(frame[:3]).tolist()
    ['cheap', 'cheap', 'dear']
    """

    def __init__(
        self,
        text: Mapping[str, str | Sequence[str]] | None = None,
        behavior: BehaviorFeatures | None = None,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        encoder: TextEncoder | str | Path | Any = "all-MiniLM-L6-v2",
        booster: str = "xgboost",
        device: str = "auto",
        *,
        label_statistics: LabelStatistics | None = None,
        head: str | None = "auto",
        text_channels: Mapping[str, Any] | None = None,
        feature_weights: Mapping[str, float] | None = None,
        without: Sequence[str] = (),
        n_estimators: int = 1000,
        learning_rate: float = 0.05,
        max_depth: int = 6,
        min_child_weight: float = 1.0,
        subsample: float = 1.0,
        colsample: float = 1.0,
        reg_lambda: float = 1.0,
        reg_alpha: float = 0.0,
        max_bin: int = 256,
        early_stopping_rounds: int | None = 50,
        eval_metric: str = "log_loss",
        class_weight: str | Mapping[Any, float] | None = None,
        calibration: str | None = None,
        booster_params: Mapping[str, Any] | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.text = text
        self.behavior = behavior
        self.categorical = categorical
        self.numeric = numeric
        self.encoder = encoder
        self.booster = booster
        self.device = device
        self.label_statistics = label_statistics
        self.head = head
        self.text_channels = text_channels
        self.feature_weights = feature_weights
        self.without = without
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.min_child_weight = min_child_weight
        self.subsample = subsample
        self.colsample = colsample
        self.reg_lambda = reg_lambda
        self.reg_alpha = reg_alpha
        self.max_bin = max_bin
        self.early_stopping_rounds = early_stopping_rounds
        self.eval_metric = eval_metric
        self.class_weight = class_weight
        self.calibration = calibration
        self.booster_params = booster_params
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(
        self,
        X: Frame,
        y: Any,
        events: Frame | None = None,
        eval_set: tuple[Frame, Any] | None = None,
        groups: Any = None,
        sample_weight: Any = None,
        progress: Progress | None = None,
    ) -> Self:
        """Fit encoders, behaviour and trees.

        Parameters
        ----------
        X : frame of n_rows examples
            Keys, texts, attributes and, with behaviour, the log's timestamp column.
        y : array-like of shape (n_rows,)
            Labels of any type.
        events : frame, required with ``behavior``
            The event log; examples see only what is strictly before them.
        eval_set : (frame, labels), optional
            Rows for early stopping and calibration, never trained on.
        groups : array-like of shape (n_rows,), optional
            Rows of one group stay together where ``fit`` holds rows out, and in the folds of the text head.
        sample_weight : array-like of shape (n_rows,), optional
        progress : callable (step, done, total), optional

        Raises
        ------
        ParameterError, LabelError, DeviceError, and the errors of ``features`` for frames
            Before any long work.
        """
        started = time.perf_counter()
        builder = self.builder()
        frame = builder.check(X, "examples")
        self.check_events(events)
        labels = as_labels(y, frame.height, "y")
        self.classes_, codes = encode(labels, None, "y")
        of_labels = None if self.label_statistics is None else builder.fit_labels(frame, codes, self.classes_)
        weight = row_weights(codes, self.classes_, self.class_weight, sample_weight)
        metric(self.eval_metric, len(self.classes_))
        if self.calibration not in CALIBRATIONS:
            raise ParameterError(f'calibration must be "temperature" or None, not {self.calibration!r}')
        valid = None
        if eval_set is not None:
            valid_frame = builder.check(eval_set[0], "eval_set")
            valid_labels = as_labels(eval_set[1], valid_frame.height, "labels of eval_set")
            valid = (valid_frame, encode(valid_labels, self.classes_, "labels of eval_set")[1])

        row_groups, times = _as_groups(groups, frame.height), _times(self.timestamp(), frame)
        held = None
        if valid is None and (self.early_stopping_rounds is not None or self.calibration is not None):
            held = hold_out(codes, row_groups, times, self.random_state)
        if self.calibration is not None and valid is None:
            _require_unseen(held, frame.height, sample_weight)
        encoded = builder.encode(frame, progress)
        matrix = builder.fit(frame, encoded, events)
        built = time.perf_counter()
        self.head_ = NO_HEAD
        held_labels = None
        if self.label_statistics is not None and of_labels is not None:
            matrix = FeatureMatrix.join([matrix, of_labels])
            if held is not None:
                held_labels = held_apart(self.label_statistics, frame, codes, self.classes_, held)
        if builder.evidence.channels.head is not None and TEXT_HEAD not in self.without:
            folds = head_folds(codes, row_groups, times, builder.evidence.channels.head.folds, self.random_state)
            splits = splits_to_compare(held or hold_out(codes, row_groups, times, self.random_state), codes, folds)
            matrix = self._give_head(builder, encoded, matrix, codes, weight, folds, splits, progress)
        matrix = self.select(matrix)
        valid_data = None if valid is None else (self.select(builder.matrix(valid[0], None, progress)), valid[1])
        headed = time.perf_counter()
        self.booster_ = self._grow(matrix, codes, weight, sample_weight, valid_data, held, held_labels, progress)
        self.builder_ = builder
        self.columns_ = matrix.columns
        self.reference_ = Reference.draw(matrix, self.random_state)
        encoder_device = builder.encoder.computes_on(builder.device) if builder.encoder else None
        self.devices_ = {"encoder": encoder_device, "booster": self.booster_.device}
        self.timings_ = {
            "features": built - started,
            "head": headed - built,
            "boosting": time.perf_counter() - headed,
        }
        self.n_features_in_ = frame.width
        return self

    def predict_proba(self, X: Frame, events: Frame | None = None) -> np.ndarray:
        """Class probabilities.

        Parameters
        ----------
        X : frame of n_rows examples
        events : frame, optional
            A log to use in place of the fitted one.

        Returns
        -------
        numpy.ndarray of float32, shape (n_rows, n_classes)
            Columns in the order of ``classes_``.
        """
        return self.booster_.predict_proba(self.matrix(X, events))

    def predict(self, X: Frame, events: Frame | None = None) -> np.ndarray:
        """The most probable label of each row."""
        return self.classes_[self.predict_proba(X, events).argmax(axis=1)]

    def explain(self, X: Frame, events: Frame | None = None, by: str = "group") -> Frame:
        """Each row's score as contributions of the evidence, in margin units (log-odds for two classes).

        Parameters
        ----------
        X, events : as in ``predict_proba``
        by : {"group", "column"}, default "group"

        Returns
        -------
        frame of the same kind
            One row an example (with more than two classes, one row an example and class, with the column ``class``), one column a
            group or column, then ``bias`` and ``margin``, which is the sum of all others. Exact tree SHAP values; a head that enters as
            margin stands beside them as ``text head``, less its mean over the training rows, which the bias holds. The margin is that
            before calibration.
        """
        if by not in ("group", "column"):
            raise ParameterError(f'by must be "group" or "column", not {by!r}')
        matrix = self.matrix(X, events)
        shap = self.booster_.contributions(matrix)
        head = 0.0 if matrix.margin is None else matrix.margin.contributions
        parts: dict[str, np.ndarray] = {}
        if len(self.classes_) > 2:
            parts["class"] = np.tile(self.classes_, len(matrix))
        if by == "group":
            parts |= {group: shap[:, :, matrix.positions(group)].sum(axis=2).ravel() for group in matrix.groups}
        else:
            parts |= {column.name: shap[:, :, i].ravel() for i, column in enumerate(matrix.columns)}
        if matrix.margin is not None:
            parts[TEXT_HEAD] = parts.get(TEXT_HEAD, 0) + matrix.margin.contributions.ravel()
        parts["bias"] = shap[:, :, -1].ravel()
        parts["margin"] = (shap.sum(axis=2) + head).ravel()
        return answer_in_kind(pl.DataFrame(parts), X) if len(self.classes_) == 2 else pl.DataFrame(parts)

    def report(
        self,
        X: Frame,
        y: Any,
        events: Frame | None = None,
        *,
        groups_of_rows: str | Sequence[Any] | None = None,
        baseline: Self | Mapping[str, Self | np.ndarray] | None = None,
        slices: Sequence[str] = (),
        query: str | None = None,
        show_texts: Sequence[str] = (),
        costs: Mapping[str, float] | None = None,
        max_rows: int = 50_000,
        ablation_folds: int = 3,
        title: str = "Which evidence mattered",
        progress: Progress | None = None,
    ) -> ImportanceReport:
        """Say which evidence mattered on these rows, how sure that is, and where the model fails.

        Parameters
        ----------
        X, y, events : examples that were not trained on, their labels, and a log in place of the fitted one
        groups_of_rows : str or array-like of shape (n_rows,), optional
            Column, or ids, whose values keep rows together in intervals and folds. Default: the user of the behaviour's log, if there is
            one.
        baseline : HybridClassifier, or mapping from name to HybridClassifier or probabilities of shape (n_rows, n_classes), optional
            Other models on the same rows, shown beside; of the same classes.
        slices : sequence of str, default ()
            Columns of the examples by whose values the metrics are shown, beside the slices that the log makes (new and returning
            users, frequent and rare queries, time) and those that a tree finds.
        query : str, optional
            Column whose values keep together the rows that are ranked at once (a search): nDCG@10 and MRR are then shown. Labels that are
            numbers count as grades.
        show_texts : sequence of str, default ()
            Columns whose texts may be shown with the worst misses. None are, unless named here; ids never.
        costs : mapping, optional
            ``{"false_positive": 1, "false_negative": 5}``: what a mistake costs, for thresholds of two classes; default 1 each.
        max_rows : int, default 50,000
            Rows at most for permutations and refits, and for SHAP values, which take 1,000 of them; the metrics use all rows.
        ablation_folds : int, default 3
            Folds of the refits without each group, which take most of the time; 0 leaves them out.
        title : str
        progress : callable (step, done, total), optional

        Returns
        -------
        ImportanceReport
            Polars frames; ``save("report.html")``.

        Raises
        ------
        ParameterError, LabelError, and the errors of ``features`` for frames
            Before any long work.
        """
        check_is_fitted(self, "booster_")
        frame = self.builder_.check(X, "examples")
        codes = encode(as_labels(y, frame.height, "y"), self.classes_, "y")[1]
        named = list(baseline) if isinstance(baseline, Mapping) else []
        check_options(max_rows=max_rows, ablation_folds=ablation_folds, baselines=named)
        if groups_of_rows is None and self.behavior is not None and self.behavior.log.user in frame.columns:
            groups_of_rows = self.behavior.log.user
        groups = row_groups(frame, groups_of_rows)
        model = with_events(self, events)
        parts = declared_slices(model, frame, slices)
        shown, queries, costs = shown_texts(model, frame, show_texts), query_codes(frame, query), costs_of(costs)
        say: Progress = progress or (lambda step, done, total: None)
        started = time.perf_counter()
        say("predict", 0, frame.height)
        baselines = baseline_probabilities(self, frame, events, baseline)
        proba = probabilities(model, frame, partial(say, "predict"))
        predicted = time.perf_counter()
        say("words", 0, 1)
        words = word_table(model, frame, groups, self.random_state)
        say("words", 1, 1)
        occluded = time.perf_counter()
        made = importance_report(
            y=codes,
            proba=proba,
            matrix_of=lambda index: model.matrix(frame[index]),
            booster=self.booster_,
            classes=self.classes_.tolist(),
            parameters=self.tree_parameters(),
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            groups=groups,
            baselines=baselines,
            slices=parts,
            queries=queries,
            shown=shown,
            costs=costs,
            reference=self.reference_,
            category_names=showable_categories(self),
            words=words,
            max_rows=max_rows,
            ablation_folds=ablation_folds,
            title=title,
            provenance=self.provenance(frame),
            progress=progress,
        )
        spent = {
            "predictions": predicted - started,
            "words": occluded - predicted,
            "all else": time.perf_counter() - occluded,
        }
        return made.with_provenance(
            {
                "fingerprint of rows and labels": fingerprint(frame, codes, self.builder_.required_columns()),
                "seconds of this report": {step: round(seconds, 1) for step, seconds in spent.items()},
            }
        )

    def adapt(
        self,
        X: Frame,
        y: Any,
        events: Frame | None = None,
        *,
        source: tuple[Frame, Any] | None = None,
        groups: Any = None,
        progress: Progress | None = None,
    ) -> Self:
        """Carry the model to a new domain with few labels: another shop, language or season.

        Compared out of fold on the new rows, by log loss: the model as it is; a head trained anew under the same trees (where there is a
        head); more trees after the model's own (XGBoost), as many as help; and, with ``source``, a refit on both domains' rows, those of
        the source weighing 0.1 or 0.5 of a new one. The best is then made of all new rows; it must be better than the model as it is by
        more than a standard error, for few rows flatter the best of many. Statistics of labels stay those of the rows that the model was
        fitted to, but for a refit, which learns them from both domains' rows.

        Parameters
        ----------
        X, y : examples of the new domain and their labels, at least 10
            Labels are among those of the model; some may be absent.
        events : frame, optional
            The new domain's log, in place of the fitted one. With ``source`` it must hold what the source's rows are to see, too.
        source : (examples, labels), optional
            What the model was fitted to, or some of it, with rows of every class.
        groups : array-like of shape (n_rows,), optional
            Rows of one group stay together in the folds.
        progress : callable (step, done, total), optional

        Returns
        -------
        HybridClassifier
            Fitted; this model stays as it is. ``adaptation_`` says which way was taken and the loss of each.

        Raises
        ------
        ParameterError
            Fewer than 10 rows.
        LabelError
            A label that the model does not know, or a source that lacks a class.
        """
        check_is_fitted(self, "booster_")
        self.check_events(events, required=False)
        return adapt(
            self,
            X,
            y,
            events,
            source=source,
            groups=_as_groups(groups, len(X)),
            times=partial(_times, self.timestamp()),
            progress=progress,
        )

    def save(self, folder: str | Path) -> None:
        """Write the artifact; ``hybrid.load`` reads it. The encoder's own weights stay where they are and are verified on loading."""
        check_is_fitted(self, "booster_")
        save(self, Path(folder))

    def required_columns(self) -> list[str]:
        """Columns that examples must have."""
        check_is_fitted(self, "booster_")
        return self.builder_.required_columns()

    def replace_log(self, events: Frame) -> None:
        """Read behaviour from another log from now on; what was fitted stays."""
        check_is_fitted(self, "booster_")
        self.check_events(events)
        self.builder_.replace_log(events)

    def matrix(self, X: Frame, events: Frame | None = None) -> FeatureMatrix:
        """The matrix that the trees read for these examples."""
        check_is_fitted(self, "booster_")
        self.check_events(events, required=False)
        return self.select(self.builder_.matrix(self.builder_.check(X, "examples"), events))

    def builder(self) -> MatrixBuilder:
        """An unfitted builder of this model's matrix; checks the declaration and the device."""
        booster_class(self.booster).resolve_device(self.device)
        encoder = None
        if self.text:
            encoder = self.encoder if isinstance(self.encoder, TextEncoder) else TextEncoder(self.encoder)
        device = "cpu" if encoder is None else resolve_device(self.device)
        return MatrixBuilder.declare(
            text=self.text,
            behavior=None if self.behavior is None else _unfitted(self.behavior),
            categorical=self.categorical,
            numeric=self.numeric,
            channels=self.channels(),
            label_statistics=self.label_statistics,
            encoder=encoder,
            device=device,
        )

    def timestamp(self) -> str | None:
        """The column of the examples' times: of the behaviour's log, else of statistics of labels by time; None without either."""
        if self.behavior is not None:
            return self.behavior.log.timestamp
        return None if self.label_statistics is None else self.label_statistics.timestamp

    def channels(self) -> TextChannels:
        """The text channels as declared, checked."""
        return TextChannels.of(self.text_channels, self.head, list(self.text or {}))

    def select(self, matrix: FeatureMatrix) -> FeatureMatrix:
        """The matrix less the groups that the model goes without."""
        for group in self.without:
            if group not in matrix.groups and not (group == TEXT_HEAD and self.channels().head):
                raise ParameterError(
                    f"without names the group {group!r}, which is not there{closest(group, matrix.groups)}"
                )
        chosen = matrix.without(self.without)
        if not chosen.columns:
            raise ParameterError(f"without={list(self.without)!r} leaves no group to learn from")
        weights = self.feature_weights or {}
        for group, group_weight in weights.items():
            if group not in matrix.groups:
                raise ParameterError(
                    f"feature_weights names the group {group!r}, which is not there{closest(group, matrix.groups)}"
                )
            if not 0 < group_weight < math.inf:
                raise ParameterError(f"feature_weights[{group!r}] must be a number above 0, not {group_weight!r}")
        return chosen.weighted(weights) if weights else chosen

    def tree_parameters(self) -> TreeParameters:
        """The booster's hyper-parameters."""
        fields = {field.name for field in dataclasses.fields(TreeParameters)} - {"extra"}
        return TreeParameters(**{name: getattr(self, name) for name in fields}, extra=dict(self.booster_params or {}))

    def grow(
        self,
        matrix: FeatureMatrix,
        codes: np.ndarray,
        weight: np.ndarray | None,
        valid: tuple[FeatureMatrix, np.ndarray] | None,
        parameters: TreeParameters,
        on_round: Callable[[int, float], None] | None = None,
        patience: int | None = None,
    ) -> Booster:
        """Bin and boost one matrix with this model's booster and device; ``patience`` in place of its ``early_stopping_rounds``."""
        chosen = booster_class(self.booster)
        binning: dict[str, Any] = {"max_bin": self.max_bin, "device": self.device, "n_jobs": self.n_jobs}
        data = chosen.bin(matrix, codes, weight=weight, **binning)
        valid_data = None if valid is None else chosen.bin(*valid, reference=data, **binning)
        return chosen.train(
            data,
            n_classes=len(self.classes_),
            parameters=parameters,
            valid=valid_data,
            metric=self.eval_metric,
            early_stopping_rounds=None if valid is None else patience or self.early_stopping_rounds,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            on_round=on_round,
        )

    def choose_head(
        self, matrix: FeatureMatrix, fit: HeadFit, codes: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]]
    ) -> HeadChoice:
        """How a head should enter, by trees of 100 quick rounds at most on the (train, held out) rows of ``splits``."""
        quick = dataclasses.replace(self.tree_parameters(), n_estimators=100, learning_rate=0.2)

        def grow(train: FeatureMatrix, y: np.ndarray, held: FeatureMatrix, y_held: np.ndarray) -> Booster:
            return self.grow(train, y, None, (held, y_held), quick, patience=_PATIENCE)

        others = matrix.without([group for group in self.without if group in matrix.groups])
        return choose(others, fit, codes, splits, self.classes_, grow, self.random_state)

    def provenance(self, frame: pl.DataFrame) -> dict[str, Any]:
        """What a report says of where its numbers come from."""
        shown: dict[str, Any] = {
            "rows": f"{frame.height:,}",
            "training rows": f"{self.reference_.rows:,}",
            "booster": Sentence(
                message("{booster}, {n} rounds"), {"booster": self.booster, "n": self.booster_.best_iteration}
            ),
            "devices": {step: device for step, device in self.devices_.items() if device},
        }
        if self.behavior is not None:
            times = frame[self.behavior.log.timestamp]
            shown["period"] = Sentence(message("{low} to {high}"), {"low": str(times.min()), "high": str(times.max())})
        if self.text and self.builder_.encoder is not None:
            shown["encoder"] = repr(self.builder_.encoder)
            shown["text head"] = self.head_.mode or "none"
            shown["why so"] = self.head_.why
        if self.booster_.calibrator is not None:
            shown["calibration"] = {"temperature": f"{self.booster_.calibrator.temperature:.3f}"}
        shown["parameters"] = {name: value for name, value in vars(self.tree_parameters()).items() if value != {}}
        shown["seconds of fit"] = {step: round(seconds, 1) for step, seconds in self.timings_.items()}
        shown["versions"] = versions()
        return shown

    def check_events(self, events: Frame | None, required: bool = True) -> None:
        """Raise ParameterError if events are missing, or given to a model that reads none."""
        if required and self.behavior is not None and events is None:
            raise ParameterError("the model declares behavior: give fit its event log, fit(X, y, events=...)")
        if self.behavior is None and events is not None:
            raise ParameterError("events are given, but the model declares no behavior")

    def _give_head(
        self,
        builder: MatrixBuilder,
        encoded: EncodedTexts,
        matrix: FeatureMatrix,
        codes: np.ndarray,
        weight: np.ndarray | None,
        folds: np.ndarray,
        splits: list[tuple[np.ndarray, np.ndarray]],
        progress: Progress | None,
    ) -> FeatureMatrix:
        """Train the head, settle how it enters, and add its out-of-fold logits to the training rows' matrix."""
        declared, mode = builder.evidence.channels.head, builder.evidence.channels.head_mode
        assert declared is not None
        fit = fit_head(
            declared,
            encoded,
            codes,
            n_classes=len(self.classes_),
            folds=folds,
            weight=weight,
            random_state=self.random_state,
            on_fold=None if progress is None else partial(progress, "text head"),
        )
        if mode == AUTO:
            self.head_ = self.choose_head(matrix, fit, codes, splits)
        else:
            self.head_ = HeadChoice(mode, AS_DECLARED, {})
        if self.head_.mode is not None:
            builder.give_head(fit.head, self.head_.mode, self.classes_)
        return with_head(matrix, fit.logits, fit.head, self.head_.mode, self.classes_)

    def _grow(
        self,
        matrix: FeatureMatrix,
        codes: np.ndarray,
        weight: np.ndarray | None,
        sample_weight: Any,
        valid: tuple[FeatureMatrix, np.ndarray] | None,
        held: tuple[np.ndarray, np.ndarray] | None,
        held_labels: tuple[FeatureMatrix, FeatureMatrix] | None,
        progress: Progress | None,
    ) -> Booster:
        parameters, calibrator = self.tree_parameters(), None
        report = None if progress is None else (lambda done, _: progress("boost", done + 1, parameters.n_estimators))
        if held is not None:
            train, out = held
            part = None if weight is None else weight[train]
            learned, judged = matrix.rows(train), matrix.rows(out)
            if held_labels is not None:
                learned, judged = learned.replacing(held_labels[0]), judged.replacing(held_labels[1])
            unseen = (judged, codes[out])
            search = self.grow(learned, codes[train], part, unseen, parameters, report)
            parameters = dataclasses.replace(parameters, n_estimators=search.best_iteration)
            of_unseen = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)[out]
            calibrator = self._calibrator(search, *unseen, of_unseen)
        grown = self.grow(matrix, codes, weight, valid, parameters, None if valid is None else report)
        return grown.calibrated(calibrator if valid is None else self._calibrator(grown, *valid))

    def _calibrator(
        self, booster: Booster, unseen: FeatureMatrix, codes: np.ndarray, weight: np.ndarray | None = None
    ) -> Calibrator | None:
        """The calibrator of trees that did not see these rows; None where the model declares none."""
        if self.calibration is None:
            return None
        return Calibrator.fit(booster.margin(unseen), codes, len(self.classes_), weight)


def _require_unseen(held: tuple[np.ndarray, np.ndarray] | None, n_rows: int, sample_weight: Any) -> None:
    """Raise where no rows are held out that a model could be calibrated on."""
    if held is None:
        raise ParameterError(
            f"calibration needs rows that the trees do not see, but of {n_rows:,} rows no tenth can be held out with every class on both "
            "sides: give eval_set, more rows, or calibration=None"
        )
    if sample_weight is not None and not np.asarray(sample_weight)[held[1]].any():
        raise ParameterError(
            f"calibration needs rows that count, but sample_weight is 0 for all {len(held[1]):,} that are held out: give eval_set, "
            "or calibration=None"
        )


def _unfitted(behavior: Any) -> Any:
    return clone(behavior) if isinstance(behavior, BehaviorFeatures) else behavior


def _as_groups(groups: Any, n_rows: int) -> np.ndarray | None:
    """Group ids as codes; a row without an id is a group of its own."""
    if groups is None:
        return None
    if len(groups) != n_rows:
        raise ParameterError(f"groups has {len(groups):,} values for {n_rows:,} rows")
    ids = groups if isinstance(groups, pl.Series) else pl.Series(np.asarray(groups).tolist())
    alone = pl.int_range(n_rows, eager=True) + n_rows + 1
    return ids.rank("dense").cast(pl.Int64).fill_null(alone).to_numpy()


def _times(timestamp: str | None, frame: pl.DataFrame) -> np.ndarray | None:
    return None if timestamp is None else microseconds(frame[timestamp], "examples").to_numpy()
