"""Priors of rates by moments and by likelihood."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from asof import alone, through_json
from logs import EVENTS, START
from scipy.stats import betabinom

from features import BetaPrior, DeclarationError, Rates
from features.beta_binomial import log_rising


def likelihood(prior, successes, trials):
    return betabinom.logpmf(successes, trials, prior.alpha, prior.beta).sum()


def drawn(seed, n_keys, alpha, beta, most=60):
    rng = np.random.default_rng(seed)
    trials = rng.integers(1, most, n_keys)
    return rng.binomial(trials, rng.beta(alpha, beta, n_keys)), trials


@pytest.mark.parametrize("seed", range(5))
def test_no_prior_nearby_makes_the_log_more_likely(seed):
    successes, trials = drawn(seed, 400, 0.3 + seed, 3 + 9.0 * seed)
    best = BetaPrior.fit(successes, trials, method="likelihood")
    reached = likelihood(best, successes, trials)
    assert reached >= likelihood(BetaPrior.fit(successes, trials), successes, trials)
    for mean, strength in [(1.02, 1), (0.98, 1), (1, 1.05), (1, 0.95), (1.02, 1.05), (0.98, 0.95)]:
        assert reached >= likelihood(BetaPrior(best.mean * mean, best.strength * strength), successes, trials)


def test_likelihood_recovers_the_distribution_that_rates_came_from():
    prior = BetaPrior.fit(*drawn(0, 20_000, 2.0, 18.0), method="likelihood")
    assert (prior.mean, prior.strength) == (pytest.approx(0.1, rel=0.03), pytest.approx(20, rel=0.05))


def test_one_huge_key_does_not_outweigh_the_others_in_the_likelihood():
    successes, trials = drawn(0, 2_000, 2.0, 18.0)
    successes, trials = np.append(successes, 500_000), np.append(trials, 1_000_000)
    assert BetaPrior.fit(successes, trials, method="moments").mean == pytest.approx(0.5, abs=0.03)
    prior = BetaPrior.fit(successes, trials)
    assert (prior.mean, prior.strength) == (pytest.approx(0.1, rel=0.05), pytest.approx(20, rel=0.15))


def test_keys_alike_get_a_strong_prior_and_what_tells_nothing_the_flat_strength():
    trials = np.full(5_000, 40)
    successes = np.random.default_rng(0).binomial(trials, 0.3)
    assert BetaPrior.fit(successes, trials, method="likelihood").strength > 1_000
    assert BetaPrior.fit(np.array([3]), np.array([0]), method="likelihood") == BetaPrior(0.5, 2.0)
    assert BetaPrior.fit(np.array([1, 0]), np.array([1, 1]), method="likelihood") == BetaPrior(0.5, 2.0)
    assert BetaPrior.fit(np.array([9, 9]), np.array([9, 9]), method="likelihood").mean > 0.999


@pytest.mark.parametrize("base", [0.01, 3.0, 999.0, 1_001.0, 1e6])
def test_rising_factorials_keep_their_digits(base):
    steps = np.array([0, 1, 2, 50, 2_000])
    exact = [float(np.log(base + np.arange(k)).sum()) for k in steps]
    np.testing.assert_allclose(log_rising(base, steps), exact, rtol=1e-12, atol=1e-10)


def test_a_family_fits_by_what_it_declares_and_survives_json():
    rng = np.random.default_rng(0)
    log = pl.DataFrame({
        "user_id": rng.integers(0, 40, 2_000), "item_id": rng.integers(0, 30, 2_000), "event": rng.choice(EVENTS, 2_000),
        "ts": [START] * 2_000, "price": [1.0] * 2_000,
    })  # fmt: skip
    options = {"rates": {"cvr": ("buy", "view")}, "keys": ["item"], "windows": ["7d"]}
    fitted = alone(Rates(**options, fit="likelihood"), keys=["user"]).fit(log)
    family = fitted.families_[-1]
    assert through_json(family).options() == json.loads(json.dumps(family.options()))
    by_moments = alone(Rates(**options, fit="moments"), keys=["user"]).fit(log).families_[-1]
    assert family.priors["item__cvr"].mean == pytest.approx(by_moments.priors["item__cvr"].mean, rel=0.1)
    assert family.priors != by_moments.priors
    given = alone(Rates(**options, priors={"item__cvr": {"mean": 0.25, "strength": 4}}), keys=["user"]).fit(log)
    assert given.priors_ == {"item__cvr": BetaPrior(0.25, 4)}


def test_an_unknown_way_to_fit_is_refused():
    with pytest.raises(DeclarationError, match="rate: fit='mle' must be one of 'likelihood', 'moments'"):
        Rates(fit="mle")
    with pytest.raises(DeclarationError, match="method='mle'"):
        BetaPrior.fit(np.array([1]), np.array([2]), method="mle")
