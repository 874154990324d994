"""The mean gain over models and tasks, with the variation between them.

docs/method.md, "Several seeds, models and tasks".
"""

import contextlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pas.evidence.seeds import CONFIDENCE

Method = Literal["mixed model", "random-effects meta-analysis", "mean"]


class Gain(NamedTuple):
    """The gain in test accuracy (`delta`) of one model on one task with one seed."""

    model: str
    task: str
    seed: int
    delta: float


@dataclass(frozen=True)
class PooledGain:
    """The mean gain over models and tasks. A cell is a pair of model and task.

    Attributes:
        method: The method of pooling.
        mean: Expected gain in accuracy of another model, task and seed of this kind.
        ci_low: Lower end of the 95 % interval of the mean.
        ci_high: Upper end of that interval.
        df: Degrees of freedom of the interval's t distribution.
        p_value: Two-sided p-value of a mean of 0.
        n_models: Number of models.
        n_tasks: Number of tasks.
        n_cells: Number of cells.
        n_rows: Number of gains.
        note: The reason for the method, and what the interval does not cover; may be empty.
    """

    method: Method
    mean: float
    ci_low: float | None
    ci_high: float | None
    df: int
    p_value: float | None
    n_models: int
    n_tasks: int
    n_cells: int
    n_rows: int
    note: str


class _Estimate(NamedTuple):
    method: Method
    mean: float
    error: float | None
    df: int
    note: str


def pooled_gain(rows: Sequence[Gain]) -> PooledGain:
    """Pool the gains of models x tasks x seeds.

    The first of these methods that is possible is used:

    1. A mixed model with crossed random intercepts for model and task, and for each cell if seeds
       differ within a cell, by restricted maximum likelihood. Its interval uses a t distribution
       on `min(n_models, n_tasks) - 1` degrees of freedom, because three models say little about a
       fourth one. It needs several models and several tasks.
    2. A random-effects meta-analysis over cells (variance by Paule & Mandel, standard error by
       Hartung & Knapp). It needs several cells, and seeds that differ in every cell.
    3. The plain mean of the cells, or of the seeds of a single cell.

    Raises:
        ValueError: If there are no rows, a gain is not finite or a cell has a seed twice.
    """
    from scipy import stats

    if not rows or not all(np.isfinite(row.delta) for row in rows):
        raise ValueError("the gains must be finite, and at least one")
    if len({row[:3] for row in rows}) < len(rows):
        raise ValueError("a combination of model, task and seed occurs more than once")
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        cells[row.model, row.task].append(row.delta)
    n_models, n_tasks = len({m for m, _ in cells}), len({t for _, t in cells})
    pooled = None
    reason = "there is only one model" if n_models < 2 else "there is only one task"
    if n_models > 1 and n_tasks > 1:
        reason = "no mixed model fits; the cells count as independent, which they are not"
        pooled = _mixed(cells, min(n_models, n_tasks) - 1)
    pooled = pooled or _meta(cells, reason) or _mean(cells, reason)
    low = high = p_value = None
    if pooled.error is not None:
        half = float(stats.t.isf((1 - CONFIDENCE) / 2, pooled.df)) * pooled.error
        low, high = pooled.mean - half, pooled.mean + half
        if pooled.error > 0:
            p_value = float(2 * stats.t.sf(abs(pooled.mean) / pooled.error, pooled.df))
    return PooledGain(
        method=pooled.method,
        mean=pooled.mean,
        ci_low=low,
        ci_high=high,
        df=pooled.df,
        p_value=p_value,
        n_models=n_models,
        n_tasks=n_tasks,
        n_cells=len(cells),
        n_rows=len(rows),
        note=pooled.note,
    )


def _mixed(cells: dict[tuple[str, str], list[float]], df: int) -> _Estimate | None:
    # If the seeds of a cell do not differ, the residual is the cell's own deviation.
    seeds = any(_varies(deltas) for deltas in cells.values())
    used = cells if seeds else {cell: [float(np.mean(d))] for cell, d in cells.items()}
    deltas = np.array([delta for cell_deltas in used.values() for delta in cell_deltas])
    if not _varies(deltas):
        return None

    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    names = [cell for cell, cell_deltas in used.items() for _ in cell_deltas]
    table = pd.DataFrame(names, columns=["model", "task"])
    table["cell"] = [f"{len(model)}:{model}{task}" for model, task in names]
    table["delta"] = deltas
    parts = {"model": "0 + C(model)", "task": "0 + C(task)"}
    if seeds:
        parts["cell"] = "0 + C(cell)"
    model = MixedLM.from_formula(
        "delta ~ 1", groups=np.ones(len(table)), re_formula="0", vc_formula=parts, data=table
    )
    # A variance of zero is a valid result, on the boundary of the parameters. Gradients vanish
    # there, so searches without gradients are used. A singular matrix seldom stops both.
    for search in ("powell", "nm"):
        with warnings.catch_warnings(), contextlib.suppress(np.linalg.LinAlgError):
            warnings.simplefilter("ignore")
            fit = model.fit(reml=True, method=search)
            mean, error = float(fit.fe_params.iloc[0]), float(fit.bse_fe.iloc[0])
            if fit.converged and np.isfinite([mean, *fit.vcomp]).all() and error > 0:
                note = "the seeds of a cell do not differ, so its variance is not separate"
                return _Estimate("mixed model", mean, error, df, "" if seeds else note)
    return None


def _meta(cells: dict[tuple[str, str], list[float]], reason: str) -> _Estimate | None:
    if len(cells) < 2 or not all(map(_varies, cells.values())):
        return None

    from statsmodels.stats.meta_analysis import combine_effects

    effects = np.array([np.mean(deltas) for deltas in cells.values()])
    variances = np.array([np.var(deltas, ddof=1) / len(deltas) for deltas in cells.values()])
    combined = combine_effects(effects, variances, method_re="iterated", use_t=True)
    return _Estimate(
        "random-effects meta-analysis",
        float(combined.mean_effect_re),
        float(np.sqrt(combined.var_hksj_re)),
        len(cells) - 1,
        reason,
    )


def _mean(cells: dict[tuple[str, str], list[float]], reason: str) -> _Estimate:
    from scipy.stats import sem

    single = len(cells) == 1
    values = next(iter(cells.values())) if single else [float(np.mean(d)) for d in cells.values()]
    error = None
    if len(values) > 1:
        error = float(sem(values)) if _varies(values) else 0.0
    note = f"{reason}; the mean of the {'seeds' if single else 'cells'}"
    if not error:
        note += ", which do not vary"
    return _Estimate("mean", float(np.mean(values)), error, len(values) - 1, note)


def _varies(values: Sequence[float] | np.ndarray) -> bool:
    # Gains are differences of accuracies, so smaller variation is rounding.
    return bool(np.ptp(values) > 1e-12)
