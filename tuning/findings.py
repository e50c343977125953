"""What a study says: its answer in words, what each group of columns was worth, and what to try next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import polars as pl
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from hybrid.languages import gloss, paragraph, say
from hybrid.numerals import count, decimals_for, listed, number, percent
from tuning.behavior_options import WINDOW
from tuning.distributions import SWITCH
from tuning.objective import TrialResult, allowed

if TYPE_CHECKING:
    from tuning.study import Study

FEWEST_FOR_IMPORTANCE = 10
_FEWEST_A_SIDE = 3
_NATURAL_ENDS = {("subsample", 1.0), ("colsample", 1.0), ("reg_alpha", 0.0)}
_EDGE = 0.05


@dataclass(frozen=True)
class Switch:
    """Finished trials with a group of columns against those without it.

    Parameters
    ----------
    group : str
    n_with, n_without : int
    mean_with, mean_without : float
        NaN where there are none.
    cost, low, high : float
        How much worse the value is without the group, other groups equal, and its 95 % interval; above zero where the group helps.
        NaN where a side has fewer than three trials.
    """

    group: str
    n_with: int
    n_without: int
    mean_with: float
    mean_without: float
    cost: float
    low: float
    high: float


def metric_words(study: Study) -> str:
    """The metric as a reader says it."""
    name = study.task.metric.name
    return say({"roc_auc": "ROC AUC", "f1_macro": "macro F1"}.get(name, name.replace("_", " ")))


def finished(study: Study) -> list[FrozenTrial]:
    """Finished trials, best first; the earlier first among equals."""
    trials = study.optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (loss(study, trial.value), trial.number))


def ranked(study: Study) -> list[FrozenTrial]:
    """Finished trials that break no constraint, best first."""
    return [trial for trial in finished(study) if allowed(trial)]


def loss(study: Study, value: float | None) -> float:
    """A value turned so that lower is better."""
    assert value is not None
    return -value if study.task.metric.greater_is_better else value


def own_trial(study: Study) -> FrozenTrial | None:
    """The finished trial that had the model's own settings, if there is one."""
    start = study.space.start(study.task.model)
    if start is None:
        return None
    same = [t for t in finished(study) if all(t.params.get(name, value) == value for name, value in start.items())]
    return same[0] if same else None


def importance(study: Study) -> dict[str, float]:
    """Share of each searched parameter in what tells the best tenth of trials from all, by PED-ANOVA; empty where trials are few.

    Of parameters that every finished trial was asked for; the switches of groups and windows are left to `switches`.
    """
    trials = finished(study)
    searched = [
        name
        for name, values in study.space.items()
        if not values.single() and not name.startswith((SWITCH, WINDOW)) and all(name in t.params for t in trials)
    ]
    if len(trials) < FEWEST_FOR_IMPORTANCE or not searched or len({trial.value for trial in trials}) == 1:
        return {}
    return optuna.importance.get_param_importances(study.optuna_study, params=searched)


def importance_table(study: Study) -> pl.DataFrame:
    """Parameters, groups and windows in one frame; see ``Study.importance``."""
    shares = importance(study)
    rows: list[tuple[Any, ...]] = [
        (name, "parameter", share, None, None, None, None, None) for name, share in shares.items()
    ]
    for kind, found in (("group", switches(study)), ("window", switches(study, WINDOW))):
        for one in found:
            known = not math.isnan(one.cost)
            cost = (one.cost, one.low, one.high) if known else (None, None, None)
            rows.append((one.group, kind, None, *cost, one.n_with, one.n_without))
    floats = dict.fromkeys(("share", "cost", "low", "high"), pl.Float64)
    schema = {"name": pl.String, "kind": pl.String, **floats, "n_with": pl.Int64, "n_without": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def switches(study: Study, prefix: str = SWITCH) -> list[Switch]:
    """Every group that the space switches (or window, by its prefix), the costliest to leave out first."""
    table = study.trials.filter(state="COMPLETE")
    searched = [name for name, values in study.space.items() if name.startswith(prefix) and not values.single()]
    if not searched:
        return []
    values = table["value"].to_numpy()
    off = ~table.select(searched).to_numpy()
    costs = _costs(-values if study.task.metric.greater_is_better else values, off)
    found = [
        Switch(
            name.removeprefix(prefix),
            int((~left_out).sum()),
            int(left_out.sum()),
            float(values[~left_out].mean()) if not left_out.all() else math.nan,
            float(values[left_out].mean()) if left_out.any() else math.nan,
            *cost,
        )
        for name, left_out, cost in zip(searched, off.T, costs, strict=True)
    ]
    return sorted(found, key=lambda switch: math.inf if math.isnan(switch.cost) else -switch.cost)


def _costs(losses: np.ndarray, off: np.ndarray) -> list[tuple[float, float, float]]:
    """Cost of leaving each group out with its 95 % interval, by least squares on all switches at once.

    The search tries good combinations more often, so a plain difference of means would blame a group for the company it was in.
    """
    used = np.flatnonzero(np.minimum(off.sum(axis=0), (~off).sum(axis=0)) >= _FEWEST_A_SIDE)
    design = np.column_stack([np.ones(len(losses)), off[:, used]])
    costs = [(math.nan, math.nan, math.nan)] * off.shape[1]
    freedom = len(losses) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return costs
    inverse = np.linalg.inv(design.T @ design)
    fitted = inverse @ design.T @ losses
    variance = ((losses - design @ fitted) ** 2).sum() / freedom
    margins = stats.t.ppf(0.975, freedom) * np.sqrt(variance * inverse.diagonal())
    for i, cost, margin in zip(used, fitted[1:], margins[1:], strict=True):
        costs[i] = (float(cost), float(cost - margin), float(cost + margin))
    return costs


def answer(study: Study) -> list[str]:
    """The opening paragraphs."""
    flattered = say(
        "The best of many trials is flattered by chance. Before you quote a figure, score study.best_model() on rows that no trial saw."
    )
    return [_best_and_own(study), _groups_and_parameters(study), flattered]


def _best_and_own(study: Study) -> str:
    """The best trial, and what it gains over the model's own settings."""
    trials, folds = ranked(study), len(study.task.folds)
    best, own = trials[0], own_trial(study)
    ways = {
        "time": say("by time"),
        "group": say("by group"),
        "group_time": say("by group within time"),
        "stratified": say("stratified"),
    }
    way = ways.get(study.task.cv, say("as given"))
    first = say(
        "The best of {n} finished trials has a {metric} of {value} (trial {trial}), {folds}.",
        n=count(len(trials)),
        metric=metric_words(study),
        value=number(study.best_value),
        trial=best.number,
        folds=say("on one fold ({way})", way=way)
        if folds == 1
        else say("the mean over {n} folds ({way})", n=folds, way=way),
    )
    if own is None or own.value is None:
        return first
    if own.number == best.number:
        return paragraph([first, say("Those are the model’s own settings: no other trial was better.")])
    gain = loss(study, own.value) - loss(study, best.value)
    better = sum(
        loss(study, b) < loss(study, o)
        for b, o in zip(TrialResult.of(best).values, TrialResult.of(own).values, strict=True)
    )
    shown = number(gain)
    if own.value:
        shown = say("{gain}, {share}", gain=shown, share=percent(gain / abs(own.value), decimals=1))
    gains = say(
        "The model’s own settings have {own}: the search gains {gain}, and is better on {better} of {folds} folds.",
        own=number(own.value),
        gain=shown,
        better=better,
        folds=folds,
    )
    return paragraph([first, gains])


def _groups_and_parameters(study: Study) -> str:
    """What the best trial reads, what was missed where it was left out, and the parameters that mattered."""
    off = study.best_params["without"]
    sentences = [
        say("The best trial leaves out {groups}.", groups=listed([gloss(group) for group in off]))
        if off
        else say("The best trial reads all groups of columns.")
    ]
    needed = [s for s in switches(study) if s.low > 0]
    if needed:
        costs = [
            say("{name} ({value})", name=gloss(s.group), value=number(s.cost, decimals=decimals_for([s.high - s.low])))
            for s in needed
        ]
        sentences.append(say("Trials without these were clearly worse, by so much: {costs}.", costs=listed(costs)))
    telling = list(importance(study).items())[:3]
    if telling:
        shares = [say("{name} ({value})", name=name, value=percent(share)) for name, share in telling]
        sentences.append(say("Parameters that told the best trials from others: {shares}.", shares=listed(shares)))
    return paragraph(sentences)


def advice(study: Study) -> list[tuple[str, str]]:
    """What to try next, each with its reason."""
    best = ranked(study)[0]
    points = [
        (say("Widen {name}.", name=name), end)
        for name in study.space
        if (end := _at_an_end(study, name, best)) is not None
    ]
    limit = study.task.model.n_estimators
    if max(TrialResult.of(best).rounds) >= limit and study.task.model.early_stopping_rounds is not None:
        reason = say(
            "The best trial was still improving when it had used all {n} rounds of n_estimators.", n=count(limit)
        )
        points.append((say("Allow more rounds."), reason))
    points.append(_more_trials(study, best))
    idle = [gloss(s.group) for s in switches(study) if s.low <= 0]
    if idle:
        ask = (
            say("Ask whether {groups} is worth computing.", groups=idle[0])
            if len(idle) == 1
            else say("Ask whether {groups} are worth computing.", groups=listed(idle))
        )
        reason = say(
            "Trials without were not clearly worse. Confirm it with the ablation of model.report, which refits on equal terms."
        )
        points.append((ask, reason))
    failed = study.trials.filter(state="FAIL").height
    if failed:
        reason = say("The log has each error once; an interrupted trial counts as failed too.")
        points.append((say("{n} trials failed.", n=count(failed)), reason))
    return points


def _more_trials(study: Study, best: FrozenTrial) -> tuple[str, str]:
    """Whether to search on, by when the best trial came."""
    total, searched = study.trials.height, sum(not values.single() for values in study.space.values())
    since = total - 1 - best.number
    if total < 30:
        reason = say("{n} are few for {parameters} parameters.", n=count(total), parameters=searched)
        return say("Run more trials."), reason
    if since < total / 5:
        reason = say("The best one came {n} before the last: the search was still finding better.", n=count(since))
        return say("Run more trials."), reason
    reason = say("The last {n} of {total} found nothing better.", n=count(since), total=count(total))
    return say("More trials may not pay."), reason


def _at_an_end(study: Study, name: str, trial: FrozenTrial) -> str | None:
    """Words for a parameter whose best value lies at an end of its range that could be moved."""
    end = _end(study, name, trial)
    if end is None:
        return None
    values = study.space.described()[name]
    if end == "lower":
        return say("The best trial lies at the lower end of {values}.", values=values)
    return say("The best trial lies at the upper end of {values}.", values=values)


def _end(study: Study, name: str, trial: FrozenTrial) -> str | None:
    """Which end of a parameter's range a trial lies at, if that end could be moved."""
    values, value = study.space[name], trial.params.get(name)
    if value is None or values.single() or isinstance(value, str | bool):
        return None
    if isinstance(values, CategoricalDistribution):
        return "upper" if name == "coordinates" and value == max(values.choices) else None  # type: ignore[type-var]  # whole numbers
    assert isinstance(values, FloatDistribution | IntDistribution)
    scale = math.log if values.log else float
    place = (scale(value) - scale(values.low)) / (scale(values.high) - scale(values.low))
    if place <= _EDGE and (name, values.low) not in _NATURAL_ENDS:
        return "lower"
    return "upper" if place >= 1 - _EDGE and (name, values.high) not in _NATURAL_ENDS else None
