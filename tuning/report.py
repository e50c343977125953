"""The study report as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hybrid.charts import Bar, bar_chart
from hybrid.languages import gloss, say
from hybrid.numerals import count, decimals_for, decimals_to_scale, interval, number, percent, span
from hybrid.pages import (
    Cell,
    Code,
    Facts,
    Figure,
    KeyFigure,
    Page,
    Panel,
    Points,
    Section,
    Table,
    Tabs,
    Text,
    render_in,
)
from tuning.behavior_options import PRIOR_STRENGTH, declared_families
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
    ranked,
    switches,
)
from tuning.objective import TrialResult, trial_settings
from tuning.search import BUILD_SECONDS
from tuning.trial_charts import costs, history, parallel, pruning, slices, workers

if TYPE_CHECKING:
    from tuning.study import Study

BEST_SHOWN = 5


def study_page(study: Study, title: str | None, lang: str) -> str:
    """The study as one self-contained HTML document."""
    return render_in(lang, partial(_page, study, title))


def _page(study: Study, title: str | None) -> Page:
    sections = [
        Section(say("How the search went"), [history(study), *pruning(study)]),
        *_holdout_section(study),
        Section(say("What to try next"), [Points(advice(study))]),
        _importance_section(study),
        *_switch_sections(study),
        _best_section(study),
        *(Section(title, blocks) for title, blocks in [(say("What a better value costs"), costs(study))] if blocks),
        Section(say("Where the time went"), [_cost_table(study), *workers(study)]),
        Section(say("Where these numbers come from"), [Facts(_provenance(study))]),
    ]
    shown = say("What the search found") if title is None else title
    return Page(say("Tuning study"), shown, answer(study), _key_figures(study), sections)


def _holdout_section(study: Study) -> list[Section]:
    """The best model on rows that no trial saw; scored here, once for a best trial."""
    if study.task.holdout is None:
        return []
    found = study.holdout_score()
    places = decimals_for([found.high - found.low])
    text = [
        say(
            "On {rows} rows that no trial saw, the best model has a {metric} of {value}; the folds said {folds}.",
            rows=count(found.rows),
            metric=metric_words(study),
            value=interval(found.value, found.low, found.high, decimals=places),
            folds=number(study.best_value),
        )
    ]
    if found.looks > 1:
        text.append(
            say(
                "It is look number {n} at these rows: each makes the number a little more flattering.",
                n=count(found.looks),
            )
        )
    return [Section(say("On rows that no trial saw"), [Text(text)])]


def model_table(study: Study) -> str:
    """The best trial's settings as tables of a TOML file: [model], and [behavior] where that differs from the study's own."""
    lines = [
        f"# Trial {study.best_trial.number}: {study.task.metric.name} {study.best_value:.6g}, best rounds of the folds: "
        + ", ".join(str(rounds) for rounds in TrialResult.of(study.best_trial).rounds),
        *settings_as_toml(study),
    ]
    return "\n".join(lines)


def settings_as_toml(study: Study) -> list[str]:
    """Lines of the tables [model] and [behavior] with the best trial's settings."""
    settings = trial_settings(study.best_trial)
    options = settings.pop("behavior", None)
    lines = ["[model]", *_keys(settings)]
    if options:
        behavior = study.best_params["behavior"]
        shown = {name: value for name, value in options.items() if name in ("windows", PRIOR_STRENGTH)}
        if len(shown) < len(options):
            shown["families"] = [{"family": family.name, **family.options()} for family in declared_families(behavior)]
        lines += ["", "[behavior]", *_keys(shown)]
    return lines


def _keys(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_as_toml(value)}" for name, value in values.items() if value is not None]


def _as_toml(value: Any) -> str:
    """A value as TOML writes it; what is None is left to its default."""
    if isinstance(value, Mapping):
        inside = (f"{json.dumps(str(key))} = {_as_toml(one)}" for key, one in value.items() if one is not None)
        return f"{{ {', '.join(inside)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    return json.dumps(value, ensure_ascii=False, default=repr)


def _key_figures(study: Study) -> list[KeyFigure]:
    own, best = own_trial(study), study.best_trial.number
    trials = study.trials
    counted = {state: trials.filter(state=state).height for state in ("COMPLETE", "PRUNED", "FAIL")}
    states = [
        *([say("{n} finished", n=count(n))] if (n := counted["COMPLETE"]) else []),
        *([say("{n} pruned", n=count(n))] if (n := counted["PRUNED"]) else []),
        *([say("{n} failed", n=count(n))] if (n := counted["FAIL"]) else []),
    ]
    note = (
        say("trial {n}; higher is better", n=best)
        if study.task.metric.greater_is_better
        else say("trial {n}; lower is better", n=best)
    )
    figures = [KeyFigure(say("best {metric}", metric=metric_words(study)), number(study.best_value), note)]
    if own is not None and own.value is not None:
        figures.append(KeyFigure(say("the model’s own settings"), number(own.value), say("trial {n}", n=own.number)))
    figures.append(KeyFigure(say("trials"), count(trials.height), say(", ").join(states)))
    built = say("matrix built in {time}", time=_time(_build_seconds(study)))
    return [*figures, KeyFigure(say("time in trials"), _time(float(trials["duration_s"].sum())), built)]


def _importance_section(study: Study) -> Section:
    shares, title = importance(study), say("Which parameters mattered")
    if not shares:
        few = say(
            "Shares need {least} finished trials that differ; there are {n} finished ones.",
            least=FEWEST_FOR_IMPORTANCE,
            n=count(len(finished(study))),
        )
        return Section(title, [Text([few]), *slices(study, [])])
    bars = [Bar(name, share, text=percent(share)) for name, share in shares.items()]
    caption = say(
        "How much each parameter tells the best tenth of the finished trials from all of them, as shares (PED-ANOVA). The search looks "
        "where it is good, so a share says what this search found, not what the parameter could do elsewhere."
    )
    chart = bar_chart(bars, title=say("Share of importance"))
    strongest = list(shares)
    return Section(title, [Figure([chart], caption), *slices(study, strongest), *parallel(study, strongest)])


def _switch_sections(study: Study) -> list[Section]:
    found = switches(study)
    if not found:
        return []
    places = decimals_for(switch.high - switch.low for switch in found)
    best = study.best_params["without"]
    bars = [
        Bar(gloss(s.group), s.cost, s.low, s.high, interval(s.cost, s.low, s.high, decimals=places), muted=_unclear(s))
        for s in found
    ]
    rows: list[list[str | Cell]] = [
        [
            gloss(s.group),
            Cell(number(s.mean_with, decimals=places), _trials(s.n_with)),
            Cell(number(s.mean_without, decimals=places), _trials(s.n_without)),
            Cell(number(s.cost, decimals=places), "" if math.isnan(s.low) else span(s.low, s.high, decimals=places)),
            Cell(say("left out"), tone="muted") if s.group in best else Cell(say("in")),
        ]
        for s in found
    ]
    words = metric_words(study)
    caption = say(
        "How much worse the {metric} of finished trials is without a group, other groups equal (least squares on all switches); whiskers "
        "are 95 % intervals, a pale bar’s interval holds zero. Parameters differed too, and poor trials were pruned: a clear cost is "
        "evidence, no clear cost is a hint.",
        metric=words,
    )
    header = [say("group"), say("mean with"), say("mean without"), say("cost of leaving out"), say("best trial")]
    table = Table(
        say("Plain means of the {metric} of finished trials, and the cost with its 95 % interval.", metric=words),
        header,
        rows,
        words=(0, 4),
    )
    title = say("What each group was worth")
    if all(math.isnan(s.cost) for s in found):
        few = say("Too few finished trials with and without the groups to tell what leaving one out costs.")
        return [Section(title, [Text([few]), table])]
    chart = bar_chart(bars, title=say("Left out: {metric} worse by", metric=words))
    return [Section(title, [Figure([chart], caption), table])]


def _trials(n: int) -> str:
    return say("{n} trial", n=count(n)) if n == 1 else say("{n} trials", n=count(n))


def _best_section(study: Study) -> Section:
    best = ranked(study)[:BEST_SHOWN]
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
        [say("best rounds of the folds"), *(", ".join(count(r) for r in TrialResult.of(t).rounds) for t in best)],
        [say("seconds"), *(number(t.duration.total_seconds(), decimals=1) if t.duration else "" for t in best)],
    ]
    rows += [[name, *(_written(t.params.get(name)) for t in best)] for name in searched]
    if any(name.startswith(SWITCH) and not values.single() for name, values in study.space.items()):
        rows.append([say("groups left out"), *(_left_out(trial_settings(t)["without"]) for t in best)])
    caption = say(
        "The {n} best trials; small print: the range over the folds. Parameters that the space fixes are not shown.",
        n=len(best),
    )
    header = [say("setting"), *(say("trial {n}", n=t.number) for t in best)]
    table = Table(caption, header, rows, words=tuple(range(len(header))), sort=False)
    text = say(
        "The best trial’s settings, for the table [model] of a TOML file; in Python, model.set_params(**study.best_params). "
        "study.best_model() refits on all examples with the mean of the best rounds, {rounds}.",
        rounds=count(study.best_rounds),
    )
    views: list[Panel] = [
        (say("Side by side"), [table]),
        (say("The best as TOML"), [Code(model_table(study), text)]),
    ]
    return Section(say("The best trials"), [Tabs(views)])


def _cost_table(study: Study) -> Table:
    spent = [TrialResult.of(trial) for trial in study.optuna_study.get_trials(deepcopy=False)]
    binned, trained = sum(one.bin_seconds for one in spent), sum(one.train_seconds for one in spent)
    built = _build_seconds(study)
    in_trials = float(study.trials["duration_s"].sum())
    other = max(in_trials - binned - trained, 0.0)
    steps = [
        (say("build the matrix"), built, say("texts, behaviour, join: once a run")),
        (say("bin"), binned, say("once for each fold, booster and set of columns, while memory lasts")),
        (say("train"), trained, say("boosting, with the metric of each round")),
        (say("other"), other, say("the sampler, the storage, trials that failed")),
    ]
    whole = max(built + in_trials, 1e-9)
    rows: list[list[str | Cell]] = [
        [step, Cell(_time(seconds), share=seconds / whole, value=seconds), percent(seconds / whole), what]
        for step, seconds, what in steps
    ]
    n_trials = study.trials.height
    anew = n_trials * built / max(len(study.optuna_study.user_attrs.get(BUILD_SECONDS, [])), 1)
    caption = say(
        "Time of all workers together. Built anew in each of {n} trials, the matrix alone would have taken {time}.",
        n=count(n_trials),
        time=_time(anew),
    )
    return Table(caption, [say("step"), say("time spent"), say("share"), say("what it is")], rows, words=(0, 3))


def _provenance(study: Study) -> dict[str, Any]:
    task = study.task
    folds = {
        str(f.name): say("{train} rows train, {valid} validate", train=count(len(f.train)), valid=count(len(f.valid)))
        for f in task.folds
    }
    return {
        say("study"): study.optuna_study.study_name,
        say("examples"): count(task.examples.height),
        say("classes"): count(len(task.classes)),
        say("folds"): folds,
        say("space"): study.space.described(),
        say("rounds at most"): count(task.model.n_estimators),
        say("versions"): ", ".join(
            f"{name} {v}" for name, v in study.optuna_study.user_attrs.get("versions", {}).items()
        ),
    }


def _left_out(groups: Sequence[str]) -> str:
    return say(", ").join(map(gloss, groups)) if groups else say("none")


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
        return say("{n} s", n=number(seconds, decimals=1 if seconds < 10 else 0))
    if seconds < 5400:
        return say("{n} min", n=number(seconds / 60, decimals=0))
    return say("{n} h", n=number(seconds / 3600, decimals=1))
