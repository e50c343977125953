"""The beta-binomial distribution: its likelihood, and the beta distribution of rates that makes a log most likely."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar  # scikit-learn has loaded both already
from scipy.special import digamma, expit, gammaln, logit

_LARGE = 1e3  # above it log-gammas are so large that their difference loses digits


def log_rising(base: float | np.ndarray, steps: np.ndarray) -> np.ndarray:
    """``log(base * (base + 1) * ... * (base + steps - 1))``, by Stirling's series where the base is large."""
    top, large = base + steps, np.maximum(base, 1.0)  # the series is not taken below 1, where its terms may overflow
    far = np.maximum(top, 1.0)
    series = (far - 0.5) * np.log1p(steps / large) + steps * np.log(large) - steps
    series += (1 / far - 1 / large) / 12 - (1 / far**3 - 1 / large**3) / 360
    return np.where(np.less(base, _LARGE), gammaln(top) - gammaln(base), series)


def fit_beta(
    successes: np.ndarray,
    trials: np.ndarray,
    start: tuple[float, float],
    mean_bounds: tuple[float, float],
    strength_bounds: tuple[float, float],
) -> tuple[float, float]:
    """Mean and strength (``alpha + beta``) of the beta distribution of rates that makes the successes most likely.

    The likelihood needs successes, failures and trials one by one, so each is counted once per distinct number (T. P. Minka,
    "Estimating a Dirichlet distribution", 2000) and a step costs the distinct numbers, not the keys. Maximised over the logit of the
    mean and the logarithm of the strength by L-BFGS-B.

    Parameters
    ----------
    successes, trials : numpy.ndarray of shape (n_keys,)
        ``0 <= successes <= trials``.
    start : (mean, strength)
    mean_bounds, strength_bounds : (least, greatest)
    """
    won, lost, tried = (np.unique(part, return_counts=True) for part in (successes, trials - successes, trials))
    total = float(trials.sum())

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        mean, strength = float(expit(point[0])), float(np.exp(point[1]))
        alpha, beta = mean * strength, (1 - mean) * strength
        likelihood, slopes = 0.0, []
        for (numbers, times), base, sign in ((won, alpha, 1), (lost, beta, 1), (tried, strength, -1)):
            likelihood += sign * float(times @ log_rising(base, numbers))
            slopes.append(sign * float(times @ (digamma(base + numbers) - digamma(base))))
        by_alpha, by_beta = slopes[0] + slopes[2], slopes[1] + slopes[2]
        by_mean = (by_alpha - by_beta) * strength * mean * (1 - mean)
        by_strength = by_alpha * alpha + by_beta * beta
        return -likelihood / total, np.array([by_mean, by_strength]) / -total

    bounds = [tuple(logit(mean_bounds)), tuple(np.log(strength_bounds))]
    # From two starts, since a start in the flat far end of the strength would end there.
    starts = [(logit(start[0]), np.log(strength)) for strength in (start[1], np.sqrt(total / len(trials)))]
    options = {"ftol": 1e-14, "gtol": 1e-10}
    found = [minimize(loss, point, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for point in starts]
    best = min(found, key=lambda result: float(result.fun))
    return float(expit(best.x[0])), float(np.exp(best.x[1]))


def fit_strength(successes: np.ndarray, trials: np.ndarray, means: np.ndarray, bounds: tuple[float, float]) -> float:
    """Strength of beta distributions with known means, one a key, that makes the successes most likely.

    Parameters
    ----------
    successes, trials : numpy.ndarray of shape (n_keys,)
        ``0 <= successes <= trials``.
    means : numpy.ndarray of shape (n_keys,)
        Strictly between 0 and 1.
    bounds : (least, greatest)
    """
    lost = trials - successes

    def loss(log_strength: float) -> float:
        strength = float(np.exp(log_strength))
        likelihood = log_rising(means * strength, successes) + log_rising((1 - means) * strength, lost)
        return -float((likelihood - log_rising(strength, trials)).sum())

    found = minimize_scalar(loss, bounds=tuple(np.log(bounds)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))
