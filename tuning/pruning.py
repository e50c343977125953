"""When a trial is given up: by rounds of the first fold, then by whole folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.trial import TrialState
from scipy.stats import wilcoxon

from tuning.objective import TrialResult

STARTUP_TRIALS = 8
WARMUP_ROUNDS = 100
_FOLDS_FOR_WILCOXON, _P = 5, 0.1


def round_pruner(n_estimators: int) -> optuna.pruners.BasePruner:
    """Prunes a trial whose best round so far, on the first fold, is worse than the median of earlier trials at that round.

    Slow learners are behind at first and good in the end, so the first rounds are no ground to prune.
    """
    return optuna.pruners.MedianPruner(STARTUP_TRIALS, min(WARMUP_ROUNDS, n_estimators // 4))


def behind(record: optuna.Study, values: Sequence[float], n_folds: int) -> bool:
    """Whether a trial with these values of its first folds is given up.

    With five folds or more: where it is worse than the best trial on the same folds, by Wilcoxon's signed-rank test, one-sided, at 0.1. Of
    fewer folds that test cannot tell anything before the last one (three worse folds of three have p = 0.125), so with fewer: where
    its mean is worse than the median of earlier trials' means over the same folds.

    Parameters
    ----------
    record : optuna.Study
    values : sequence of float
        The metric of the folds that ended, the first ones.
    n_folds : int
        All folds of a trial.
    """
    finished = record.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    done = len(values)
    if done >= n_folds or len(finished) < STARTUP_TRIALS:
        return False
    sign = 1 if record.direction == optuna.study.StudyDirection.MINIMIZE else -1
    if n_folds >= _FOLDS_FOR_WILCOXON:
        best = min(finished, key=lambda trial: sign * (trial.value or 0.0))  # be it that it breaks a constraint
        excess = sign * (np.array(values) - TrialResult.of(best).values[:done])
        return bool(excess.any() and wilcoxon(excess, alternative="greater").pvalue < _P)
    earlier = [sign * np.mean(TrialResult.of(trial).values[:done]) for trial in finished]
    return bool(sign * np.mean(values) > np.median(earlier))
