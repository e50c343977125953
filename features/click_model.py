"""The position-based click model: a result is clicked when it is examined, which its position decides, and when it attracts."""

from __future__ import annotations

import numpy as np

_LEAST = 1e-3  # an examination that one lucky click in a thousand would refute


def examination(
    results: np.ndarray,
    positions: np.ndarray,
    impressions: np.ndarray,
    clicks: np.ndarray,
    *,
    passes: int = 500,
    tolerance: float = 1e-6,
) -> np.ndarray:
    """How often each position is examined, relative to the first.

    The model says that a result is clicked with probability ``examined[position] * attraction[result]`` (A. Chuklin, I. Markov and M. de
    Rijke, "Click Models for Web Search", 2015, section 3.2). Only the product shows, hence "relative". A position is told apart from
    results by those that stood at several positions; where none did, all positions count the same.

    Its parameters are usually found by expectation-maximisation (X. Wang et al., "Position Bias Estimation for Unbiased Learning to
    Rank in Personal Search", WSDM 2018), which takes hundreds of passes where clicks are rare, and is biased by results shown once or
    twice. Solved here instead are the equations "expected clicks equal observed clicks" of every position and every result, by
    scaling one and the other in turn. That is the Poisson pseudo-likelihood with an effect a result, which asks of the clicks only
    that their mean is as the model says, and stays consistent however few impressions a result has (J. M. Wooldridge,
    "Distribution-free estimation of some nonlinear panel data models", Journal of Econometrics 90, 1999).

    Parameters
    ----------
    results, positions : numpy.ndarray of shape (n_cells,), integer from 0
        Each pair of result and position once.
    impressions, clicks : numpy.ndarray of shape (n_cells,)
    passes, tolerance
        Stop after so many passes, or when no position moves further than the tolerance, relatively.

    Returns
    -------
    numpy.ndarray of shape (greatest position + 1,), float64
        At least 0.001; 1 for the first position with clicks. A position where no clicked result was shown is as the one before it.
    """
    n_positions = int(positions.max(initial=0)) + 1
    clicked = np.bincount(results, clicks)[results] > 0  # a result without clicks says nothing of its positions
    at, shown, won = positions[clicked], impressions[clicked], clicks[clicked]
    examined = np.ones(n_positions)
    if not won.sum():
        return examined
    _, of = np.unique(results[clicked], return_inverse=True)
    won_of, won_at = np.bincount(of, won), np.bincount(at, won, minlength=n_positions)
    first = int(np.flatnonzero(won_at)[0])
    expected: np.ndarray = np.zeros(n_positions)
    for _ in range(passes):
        seen = np.bincount(of, shown * examined[at])
        attraction = np.divide(won_of, seen, out=np.zeros(len(seen)), where=seen > 0)
        expected = np.bincount(at, shown * attraction[of], minlength=n_positions)
        before, examined = examined, np.divide(won_at, expected, out=np.ones(n_positions), where=expected > 0)
        examined = np.maximum(examined / (examined[first] or 1.0), _LEAST)
        if np.abs(examined / before - 1).max() < tolerance:
            break
    known = np.maximum.accumulate(np.where(expected > 0, np.arange(n_positions), first))
    return examined[known]
