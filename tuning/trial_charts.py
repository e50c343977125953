"""Charts of trials: their values in order, by parameters, round by round, against their cost, and by worker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hybrid.charts import Series, line_chart
from hybrid.languages import paragraph, say
from hybrid.numerals import count, number
from hybrid.pages import Figure
from hybrid.parallel_chart import Axis, parallel_chart
from hybrid.timeline_chart import Work, timeline_chart
from tuning.findings import finished, loss, metric_words
from tuning.lost import Worker
from tuning.objective import TrialResult, trial_settings

if TYPE_CHECKING:
    from tuning.study import Study

SLICES, AXES = 3, 7
FEWEST_LINES, MOST_LINES = 5, 300


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


def parallel(study: Study, strongest: Sequence[str]) -> list[Figure]:
    """Each finished trial as a line through the parameters that mattered, the best tenth strong; nothing for fewer than five trials."""
    trials = finished(study)
    names = [name for name in strongest or study.space if not study.space[name].single()][:AXES]
    if len(trials) < FEWEST_LINES or len(names) < 2:
        return []
    trials = trials[:MOST_LINES]
    n_best = max(1, round(len(trials) / 10))
    axes = [_axis(study, name, trials) for name in names]
    losses = np.array([loss(study, trial.value) for trial in trials])
    reach = 3 * float(np.median(losses) - losses[0]) or 1.0
    places = np.clip((losses - losses[0]) / reach, 0, 1).tolist()
    axes.append(
        Axis(metric_words(study), places, *(number(loss(study, float(end))) for end in (losses[0], losses[0] + reach)))
    )
    caption = say(
        "A line a finished trial, {n} of them, through the parameters that mattered; the best {best} are strong. Lines that run together "
        "show where good trials lie, lines that cross at will show a parameter that does not matter. Last the {metric}, best at the left.",
        n=count(len(trials)),
        best=count(n_best),
        metric=metric_words(study),
    )
    return [Figure([parallel_chart(axes, n_best, title=say("Trials through their parameters"))], caption)]


def pruning(study: Study) -> list[Figure]:
    """How the metric of the first fold fell round by round, and where trials were given up; nothing where none was reported."""
    record = study.optuna_study.get_trials(deepcopy=False)
    whole = [t for t in record if t.state == TrialState.COMPLETE and t.intermediate_values]
    if not whole:
        return []
    best = min(whole, key=lambda trial: loss(study, trial.value))
    rounds = sorted({step for trial in whole for step in trial.intermediate_values})
    middle = [
        (r, float(np.median([t.intermediate_values[r] for t in whole if r in t.intermediate_values]))) for r in rounds
    ]
    of_best = sorted(best.intermediate_values.items())
    ends = [
        max(t.intermediate_values.items()) for t in record if t.state == TrialState.PRUNED and t.intermediate_values
    ]
    series = [
        Series(say("best trial"), [r for r, _ in of_best], [v for _, v in of_best], mark="line"),
        Series(say("median of finished trials"), [r for r, _ in middle], [v for _, v in middle], mark="line"),
    ]
    if ends:
        series.append(Series(say("given up"), [r for r, _ in ends], [v for _, v in ends], mark="points"))
    chart = line_chart(
        series, title=say("The first fold, round by round"), x_label=say("boosting rounds"), y_label=metric_words(study)
    )
    caption = say(
        "A trial whose best round so far is worse than the median of earlier trials at that round is given up; so is one that falls behind "
        "over whole folds. Points: the last report of trials given up."
    )
    return [Figure([chart], caption)]


def costs(study: Study) -> list[Figure]:
    """The value of trials against the time in which their trees score; nothing where it was not measured."""
    timed = [(TrialResult.of(t).predict_ms_per_1k, t) for t in finished(study)]
    known = sorted(((ms, t) for ms, t in timed if ms is not None), key=lambda one: (one[0], one[1].number))
    if len(known) < FEWEST_LINES:
        return []
    front, best = [], math.inf
    for ms, trial in known:
        if loss(study, trial.value) < best:
            best = loss(study, trial.value)
            front.append((ms, _value(trial)))
    shown, hidden = _legible(study, [trial for _, trial in known])
    drawn = [(ms, _value(t)) for ms, t in known if t in shown]
    front = [one for one in front if one in drawn]
    chart = line_chart(
        [
            Series(say("trial"), [ms for ms, _ in drawn], [v for _, v in drawn], mark="points"),
            Series(say("no other is better and faster"), [ms for ms, _ in front], [v for _, v in front], mark="step"),
        ],
        title=say("What a better value costs"),
        x_label=say("ms for 1,000 rows, log scale"),
        y_label=metric_words(study),
        x_log=True,
    )
    caption = [
        say(
            "The time in which the trees alone score a thousand rows, in the study’s own process, against the {metric}.",
            metric=metric_words(study),
        ),
        *hidden,
        say("Set a limit by constraints={example}.", example='{"predict_ms_per_1k": …}'),
    ]
    return [Figure([chart], paragraph(caption))]


def workers(study: Study) -> list[Figure]:
    """Which worker trained which trial when, within the longest run without a pause; nothing for a single trial."""
    ended = [t for t in study.optuna_study.get_trials(deepcopy=False) if t.datetime_start and t.datetime_complete]
    if len(ended) < 2:
        return []
    begin = min(t.datetime_start for t in ended if t.datetime_start)
    names: dict[str, str] = {}
    pieces = []
    for trial in sorted(ended, key=lambda t: t.number)[-MOST_LINES:]:
        assert trial.datetime_start is not None
        assert trial.datetime_complete is not None
        who = names.setdefault(str(Worker.of(trial)), say("worker {n}", n=len(names) + 1))
        start, end = ((at - begin).total_seconds() for at in (trial.datetime_start, trial.datetime_complete))
        title = say("trial {n}, {seconds} s", n=trial.number, seconds=number(end - start, decimals=1))
        pieces.append(Work(who, start, end, title, muted=trial.state != TrialState.COMPLETE))
    caption = say(
        "A bar a trial; pale ones were given up or failed. A gap is time without work: another run, or the sampler."
    )
    chart = timeline_chart(pieces, title=say("Who trained what when"), x_label=say("seconds since the first trial"))
    return [Figure([chart], caption)]


def _axis(study: Study, name: str, trials: Sequence[FrozenTrial]) -> Axis:
    """A parameter's place in its range, or among its choices."""
    values = study.space[name]
    if isinstance(values, FloatDistribution | IntDistribution):
        scale = math.log if values.log else float
        low, high = scale(values.low), scale(values.high)
        places = [(scale(t.params[name]) - low) / (high - low) if name in t.params else math.nan for t in trials]
        return Axis(name, places, number(values.low), number(values.high))
    choices = list(values.choices)  # type: ignore[attr-defined]  # the third kind has choices
    places = [choices.index(t.params[name]) / (len(choices) - 1) if name in t.params else math.nan for t in trials]
    return Axis(name, places, str(choices[0]), str(choices[-1]))


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
