"""The study report as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hybrid.charts import Bar, bar_chart
from hybrid.numerals import count, decimals_for, decimals_to_scale, interval, number, percent, span
from hybrid.pages import Cell, Code, Facts, Figure, KeyFigure, Page, Points, Section, Table, Tabs, Text, render
from tuning.distributions import SWITCH
from tuning.findings import (
    FEWEST_FOR_IMPORTANCE,
    Switch,
    advice,
    answer,
    finished,
    importance,
    metric_words,
    own_trial,
    switches,
)
from tuning.objective import TrialResult, trial_settings
from tuning.search import BUILD_SECONDS
from tuning.trial_charts import history, slices

if TYPE_CHECKING:
    from tuning.study import Study

BEST_SHOWN = 5


def study_page(study: Study, title: str) -> str:
    """The study as one self-contained HTML document."""
    sections = [
        Section("How the search went", [history(study)]),
        Section("What to try next", [Points(advice(study))]),
        _importance_section(study),
        *_switch_sections(study),
        _best_section(study),
        Section("Where the time went", [_cost_table(study)]),
        Section("Where these numbers come from", [Facts(_provenance(study))]),
    ]
    return render(Page("Tuning study", title, answer(study), _key_figures(study), sections))


def model_table(study: Study) -> str:
    """The best trial's settings as the table [model] of a TOML file."""
    lines = [
        f"# Trial {study.best_trial.number}: {study.task.metric.name} {study.best_value:.6g}, best rounds of the folds: "
        + ", ".join(str(rounds) for rounds in TrialResult.of(study.best_trial).rounds),
        "[model]",
        # What JSON and TOML write alike: strings, numbers, true and false, lists of strings.
        *(f"{name} = {_as_toml(value)}" for name, value in study.best_params.items()),
    ]
    return "\n".join(lines)


def _as_toml(value: Any) -> str:
    """A value as TOML writes it; what is None is left to its default."""
    if isinstance(value, Mapping):
        inside = (f"{json.dumps(str(key))} = {_as_toml(one)}" for key, one in value.items() if one is not None)
        return f"{{ {', '.join(inside)} }}"
    return json.dumps(value, ensure_ascii=False)


def _key_figures(study: Study) -> list[KeyFigure]:
    own = own_trial(study)
    lower = "higher" if study.task.metric.greater_is_better else "lower"
    trials = study.trials
    states = ", ".join(
        f"{count(trials.filter(state=state).height)} {word}"
        for state, word in (("COMPLETE", "finished"), ("PRUNED", "pruned"), ("FAIL", "failed"))
        if trials.filter(state=state).height
    )
    figures = [
        KeyFigure(
            f"best {metric_words(study)}",
            number(study.best_value),
            f"trial {study.best_trial.number}; {lower} is better",
        )
    ]
    if own is not None and own.value is not None:
        figures.append(KeyFigure("the model’s own settings", number(own.value), f"trial {own.number}"))
    figures.append(KeyFigure("trials", count(trials.height), states))
    return [
        *figures,
        KeyFigure(
            "time in trials",
            _time(float(trials["duration_s"].sum())),
            f"matrix built in {_time(_build_seconds(study))}",
        ),
    ]


def _importance_section(study: Study) -> Section:
    shares, title = importance(study), "Which parameters mattered"
    if not shares:
        few = f"Shares need {FEWEST_FOR_IMPORTANCE} finished trials that differ; there are {count(len(finished(study)))} finished ones."
        return Section(title, [Text([few]), *slices(study, [])])
    bars = [Bar(name, share, text=percent(share)) for name, share in shares.items()]
    caption = (
        "How much each parameter tells the best tenth of the finished trials from all of them, as shares (PED-ANOVA). The search looks "
        "where it is good, so a share says what this search found, not what the parameter could do elsewhere."
    )
    return Section(
        title, [Figure([bar_chart(bars, title="Share of importance")], caption), *slices(study, list(shares))]
    )


def _switch_sections(study: Study) -> list[Section]:
    found = switches(study)
    if not found:
        return []
    places = decimals_for(switch.high - switch.low for switch in found)
    best = study.best_params["without"]
    bars = [
        Bar(s.group, s.cost, s.low, s.high, interval(s.cost, s.low, s.high, decimals=places), muted=_unclear(s))
        for s in found
    ]
    rows: list[list[str | Cell]] = [
        [
            s.group,
            Cell(number(s.mean_with, decimals=places), f"{count(s.n_with)} trials"),
            Cell(number(s.mean_without, decimals=places), f"{count(s.n_without)} trials"),
            Cell(number(s.cost, decimals=places), "" if math.isnan(s.low) else span(s.low, s.high, decimals=places)),
            Cell("left out", tone="muted") if s.group in best else Cell("in"),
        ]
        for s in found
    ]
    words = metric_words(study)
    caption = (
        f"How much worse the {words} of finished trials is without a group, other groups equal (least squares on all switches); whiskers "
        "are 95 % intervals, a pale bar’s interval holds zero. Parameters differed too, and poor trials were pruned: a clear cost is "
        "evidence, no clear cost is a hint."
    )
    header = ["group", "mean with", "mean without", "cost of leaving out", "best trial"]
    table = Table(
        f"Plain means of the {words} of finished trials, and the cost with its 95 % interval.",
        header,
        rows,
        words=(0, 4),
    )
    title = "What each group was worth"
    if all(math.isnan(s.cost) for s in found):
        few = "Too few finished trials with and without the groups to tell what leaving one out costs."
        return [Section(title, [Text([few]), table])]
    return [Section(title, [Figure([bar_chart(bars, title=f"Left out: {words} worse by")], caption), table])]


def _best_section(study: Study) -> Section:
    best = finished(study)[:BEST_SHOWN]
    spans = [(min(TrialResult.of(trial).values), max(TrialResult.of(trial).values)) for trial in best]
    places = decimals_for(high - low for low, high in spans)
    scale = decimals_to_scale(max(abs(float(t.value or 0)) for t in best))
    searched = [name for name, values in study.space.items() if not values.single() and not name.startswith(SWITCH)]
    rows: list[list[str | Cell]] = [
        [
            metric_words(study),
            *(
                Cell(number(float(t.value or 0), decimals=scale), _range(TrialResult.of(t).values, places))
                for t in best
            ),
        ],
        ["best rounds of the folds", *(", ".join(count(r) for r in TrialResult.of(t).rounds) for t in best)],
        ["seconds", *(number(t.duration.total_seconds(), decimals=1) if t.duration else "" for t in best)],
    ]
    rows += [[name, *(_written(t.params.get(name)) for t in best)] for name in searched]
    if any(name.startswith(SWITCH) and not values.single() for name, values in study.space.items()):
        rows.append(["groups left out", *(", ".join(trial_settings(t)["without"]) or "none" for t in best)])
    caption = f"The {len(best)} best trials; small print: the range over the folds. Parameters that the space fixes are not shown."
    header = ["setting", *(f"trial {t.number}" for t in best)]
    table = Table(caption, header, rows, words=tuple(range(len(header))), sort=False)
    text = (
        "The best trial’s settings, for the table [model] of a TOML file; in Python, model.set_params(**study.best_params). "
        f"study.best_model() refits on all examples with the mean of the best rounds, {count(study.best_rounds)}."
    )
    views = [("Side by side", [table]), ("The best as TOML", [Code(model_table(study), text)])]
    return Section("The best trials", [Tabs(views)])


def _cost_table(study: Study) -> Table:
    spent = [TrialResult.of(trial) for trial in study.optuna_study.get_trials(deepcopy=False)]
    binned, trained = sum(one.bin_seconds for one in spent), sum(one.train_seconds for one in spent)
    built = _build_seconds(study)
    in_trials = float(study.trials["duration_s"].sum())
    steps = [
        ("build the matrix", built, "texts, behaviour, join: once a run"),
        ("bin", binned, "once for each fold, booster and set of columns, while memory lasts"),
        ("train", trained, "boosting, with the metric of each round"),
        (
            "other",
            max(in_trials - binned - trained, 0.0),
            "the sampler, the storage, trials that failed",
        ),
    ]
    whole = max(built + in_trials, 1e-9)
    rows: list[list[str | Cell]] = [
        [step, Cell(_time(seconds), share=seconds / whole, value=seconds), percent(seconds / whole), what]
        for step, seconds, what in steps
    ]
    n_trials = study.trials.height
    anew = n_trials * built / max(len(study.optuna_study.user_attrs.get(BUILD_SECONDS, [])), 1)
    anew_words = f"Built anew in each of {count(n_trials)} trials, the matrix alone would have taken {_time(anew)}."
    caption = f"Time of all workers together. {anew_words}"
    return Table(caption, ["step", "time", "share", "what it is"], rows, words=(0, 3))


def _provenance(study: Study) -> dict[str, Any]:
    task = study.task
    return {
        "study": study.optuna_study.study_name,
        "examples": count(task.examples.height),
        "classes": count(len(task.classes)),
        "folds": {f.name: f"{count(len(f.train))} rows train, {count(len(f.valid))} validate" for f in task.folds},
        "space": study.space.described(),
        "rounds at most": count(task.model.n_estimators),
        "versions": ", ".join(f"{name} {v}" for name, v in study.optuna_study.user_attrs.get("versions", {}).items()),
    }


def _build_seconds(study: Study) -> float:
    return float(sum(study.optuna_study.user_attrs.get(BUILD_SECONDS, [])))


def _unclear(switch: Switch) -> bool:
    return math.isnan(switch.low) or switch.low <= 0 <= switch.high


def _range(values: Sequence[float], places: int) -> str:
    return span(min(values), max(values), decimals=places) if len(values) > 1 else ""


def _written(value: Any) -> str:
    return str(value) if value is None or isinstance(value, str | bool) else number(float(value))


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{number(seconds, decimals=1 if seconds < 10 else 0)} s"
    return f"{number(seconds / 60, decimals=0)} min" if seconds < 5400 else f"{number(seconds / 3600, decimals=1)} h"
