"""The pooled gain against the analysis of variance, a published meta-analysis and a plain mean."""

import warnings

import numpy as np
import pytest
from scipy import optimize, stats

from pas.evidence.pooled import Gain, PooledGain, pooled_gain


def gains(
    n_models: int, n_tasks: int, n_seeds: int, spread: tuple[float, float, float, float],
    seed: int = 0,
) -> list[Gain]:  # fmt: skip
    """Balanced gains around .1 with these standard deviations of model, task, cell and seed."""
    rng = np.random.default_rng(seed)
    model, task = rng.normal(0, spread[0], n_models), rng.normal(0, spread[1], n_tasks)
    cell = rng.normal(0, spread[2], (n_models, n_tasks))
    return [
        Gain(f"m{i}", f"t{j}", s, 0.1 + model[i] + task[j] + cell[i, j] + rng.normal(0, spread[3]))
        for i in range(n_models)
        for j in range(n_tasks)
        for s in range(n_seeds)
    ]


def anova(rows: list[Gain], a: int, b: int, n: int) -> tuple[float, ...]:
    """Mean, its error, and the variances of model, task and cell from the mean squares.

    In a balanced design restricted maximum likelihood gives these where all are positive (Searle,
    Casella & McCulloch 1992, Variance Components, section 4.8).
    """
    values = np.array([row.delta for row in rows]).reshape(a, b, n)
    cells = values.mean(axis=2)
    grand, by_model, by_task = cells.mean(), cells.mean(axis=1), cells.mean(axis=0)
    of_model = n * b * np.var(by_model, ddof=1)
    of_task = n * a * np.var(by_task, ddof=1)
    left = cells - by_model[:, None] - by_task + grand
    of_cell = n * np.sum(left**2) / ((a - 1) * (b - 1))
    seed = values.var(axis=2, ddof=1).mean() if n > 1 else 0.0
    model, task = (of_model - of_cell) / (n * b), (of_task - of_cell) / (n * a)
    cell = (of_cell - seed) / n
    error = np.sqrt(model / a + task / b + cell / (a * b) + seed / (a * b * n))
    return grand, error, model, task, cell


def error_of(found: PooledGain) -> float:
    """The standard error of the mean, read off the interval."""
    return (found.ci_high - found.ci_low) / 2 / stats.t.ppf(0.975, found.df)


@pytest.mark.parametrize("n_seeds", [4, 1])
def test_the_mixed_model_is_the_analysis_of_variance(n_seeds: int) -> None:
    rows = gains(3, 8, n_seeds, (0.04, 0.08, 0.03, 0.02))
    found = pooled_gain(rows)
    mean, error, model, task, cell = anova(rows, 3, 8, n_seeds)
    assert min(model, task, cell) > 0
    assert (found.method, found.df) == ("mixed model", 2)
    assert (found.mean, error_of(found)) == pytest.approx((mean, error), rel=2e-3)
    half = stats.t.ppf(0.975, 2) * error
    assert (found.ci_low, found.ci_high) == pytest.approx((mean - half, mean + half), abs=2e-4)
    assert found.p_value == pytest.approx(2 * stats.t.sf(mean / error, 2), rel=1e-2)
    assert (found.n_models, found.n_tasks, found.n_cells) == (3, 8, 24)
    assert found.n_rows == len(rows)
    assert bool(found.note) is (n_seeds == 1)


def test_no_variance_between_models_and_tasks_is_an_answer() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pooled_gain(rows := gains(3, 6, 10, (0.0, 0.0, 0.0, 0.02)))
    # With the variation of the seeds alone, all gains are nearly one sample.
    alone = stats.sem([row.delta for row in rows])
    assert (found.method, found.df) == ("mixed model", 2)
    assert alone <= error_of(found) < 1.3 * alone


def test_seeds_that_do_not_differ_count_once() -> None:
    single = gains(3, 5, 1, (0.03, 0.06, 0.02, 0.0))
    found = pooled_gain([row._replace(seed=s) for row in single for s in range(5)])
    once = pooled_gain(single)
    assert (found.mean, error_of(found)) == pytest.approx((once.mean, error_of(once)))
    assert "do not differ" in found.note


def test_where_no_mixed_model_fits_the_note_says_so() -> None:
    # The model says all: nothing is left for an error term.
    rows = [Gain(m, t, 0, d) for m, d in (("a", 0.1), ("b", 0.2), ("c", 0.4)) for t in "uvw"]
    found = pooled_gain(rows)
    assert (found.method, found.df) == ("mean", 8)
    assert "no mixed model fits; the cells count as independent" in found.note
    assert found.mean == pytest.approx(0.7 / 3)


def test_cells_may_be_missing() -> None:
    rows = [row for row in gains(3, 6, 4, (0.03, 0.06, 0.02, 0.02)) if row[:2] != ("m1", "t2")]
    found = pooled_gain(rows)
    assert (found.method, found.n_cells) == ("mixed model", 17)
    assert found.ci_low < found.mean < found.ci_high


@pytest.mark.parametrize("one", ["model", "task"])
def test_one_model_or_task_is_a_meta_analysis_over_the_cells(one: str) -> None:
    rows = gains(1, 6, 5, (0.0, 0.06, 0.0, 0.02))
    if one == "task":
        rows = [Gain(row.task, row.model, row.seed, row.delta) for row in rows]
    found = pooled_gain(rows)
    cells = np.array([row.delta for row in rows]).reshape(6, 5)
    effects, variances = cells.mean(axis=1), cells.var(axis=1, ddof=1) / 5

    # Paule and Mandel: the variance at which the weighted squares are their degrees of freedom.
    def excess(between: float) -> float:
        weights = 1 / (variances + between)
        return np.sum(weights * (effects - np.average(effects, weights=weights)) ** 2) - 5

    weights = 1 / (variances + optimize.brentq(excess, 0, 1))
    mean = np.average(effects, weights=weights)
    assert (found.method, found.df) == ("random-effects meta-analysis", 5)
    assert found.mean == pytest.approx(mean, rel=1e-4)
    assert error_of(found) == pytest.approx(weights.sum() ** -0.5, rel=1e-3)
    assert f"only one {one}" in found.note


def test_one_cell_is_the_t_test_of_its_seeds() -> None:
    rows = gains(1, 1, 9, (0.0, 0.0, 0.0, 0.03))
    found, test = pooled_gain(rows), stats.ttest_1samp([row.delta for row in rows], 0)
    assert (found.method, found.df) == ("mean", 8)
    assert found.p_value == pytest.approx(test.pvalue)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(test.confidence_interval()))
    assert "seeds" in found.note


def test_cells_of_one_seed_and_one_model_are_averaged() -> None:
    rows = gains(1, 7, 1, (0.0, 0.05, 0.0, 0.0))
    found, test = pooled_gain(rows), stats.ttest_1samp([row.delta for row in rows], 0)
    assert (found.method, found.df) == ("mean", 6)
    assert found.p_value == pytest.approx(test.pvalue)
    assert "only one model" in found.note
    assert "cells" in found.note


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (2, 3, 2), (1, 3, 2)])
def test_no_spread_gives_no_p_value(shape: tuple[int, int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pooled_gain(gains(*shape, (0.0, 0.0, 0.0, 0.0)))
    assert (found.method, found.p_value) == ("mean", None)
    assert found.mean == pytest.approx(0.1)
    assert found.ci_low == found.ci_high == (None if shape == (1, 1, 1) else pytest.approx(0.1))
    assert "do not vary" in found.note


def test_what_cannot_be_pooled_is_refused() -> None:
    row = Gain("m", "t", 0, 0.1)
    for bad in ([], [row._replace(delta=float("nan"))]):
        with pytest.raises(ValueError, match="finite"):
            pooled_gain(bad)
    with pytest.raises(ValueError, match="more than once"):
        pooled_gain([row, row._replace(delta=0.2)])
