"""Charts of trials: their values in order, and against the parameters that mattered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from hybrid.charts import Series, line_chart
from hybrid.languages import paragraph, say
from hybrid.numerals import count
from hybrid.pages import Figure
from tuning.findings import finished, loss, metric_words
from tuning.objective import trial_settings

if TYPE_CHECKING:
    from tuning.study import Study

SLICES = 3


def history(study: Study) -> Figure:
    """The value of each finished trial, and the best so far."""
    trials = sorted(finished(study), key=lambda trial: trial.number)
    shown, hidden = _legible(study, trials)
    best = np.minimum.accumulate([loss(study, trial.value) for trial in trials])
    so_far = {trial.number: loss(study, float(value)) for trial, value in zip(trials, best, strict=True)}
    numbers = [trial.number for trial in shown]
    chart = line_chart(
        [
            Series(say("trial"), numbers, [_value(trial) for trial in shown], mark="points"),
            Series(say("best so far"), numbers, [so_far[number] for number in numbers], mark="step"),
        ],
        title=say("Value by trial"),
        x_label=say("trial"),
        y_label=metric_words(study),
    )
    caption = [
        say("Each finished trial’s mean {metric} over the folds.", metric=metric_words(study)),
        *hidden,
        say("Pruned trials have no value."),
    ]
    return Figure([chart], paragraph(caption))


def slices(study: Study, strongest: Sequence[str]) -> list[Figure]:
    """The value against the strongest numeric parameters, one colour a booster; nothing where fewer than three trials finished."""
    names = [name for name in strongest or study.space if _is_numeric(study, name)][:SLICES]
    trials = finished(study)
    if not names or len(trials) < 3:
        return []
    shown, hidden = _legible(study, trials)
    boosters = sorted({_booster(study, trial) for trial in shown})
    charts = []
    for name in names:
        parts = [[t for t in shown if _booster(study, t) == booster and name in t.params] for booster in boosters]
        log = bool(getattr(study.space[name], "log", False)) or name == "coordinates"
        charts.append(
            line_chart(
                [
                    Series(booster, [t.params[name] for t in part], [_value(t) for t in part], mark="points")
                    for booster, part in zip(boosters, parts, strict=True)
                ],
                title=name,
                x_label=say("{name}, log scale", name=name) if log else name,
                y_label=metric_words(study),
                x_log=log,
            )
        )
    words = metric_words(study)
    caption = (
        say("The strongest numeric parameters against the {metric}, a point a finished trial.", metric=words)
        if strongest
        else say("Parameters against the {metric}, a point a finished trial.", metric=words)
    )
    return [Figure(charts, paragraph([caption, *hidden]))]


def _legible(study: Study, trials: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], list[str]]:
    """Trials near enough to the best to be told apart in one chart, within three times the median's distance, and words for the rest."""
    losses = np.array([loss(study, trial.value) for trial in trials])
    best, median = losses.min(), np.median(losses)
    limit = best + 3 * (median - best) if median > best else math.inf
    shown = [trial for trial, value in zip(trials, losses, strict=True) if value <= limit]
    n = len(trials) - len(shown)
    if not n:
        return shown, []
    return shown, [say("One far worse is not drawn.") if n == 1 else say("{n} far worse are not drawn.", n=count(n))]


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _is_numeric(study: Study, name: str) -> bool:
    values = study.space[name]
    return not values.single() and (isinstance(values, FloatDistribution | IntDistribution) or name == "coordinates")


def _booster(study: Study, trial: FrozenTrial) -> str:
    return str(trial_settings(trial).get("booster", study.task.model.booster))
