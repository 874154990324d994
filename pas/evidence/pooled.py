"""One gain over many models and tasks, with what varies between them."""

import contextlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from pas.evidence.seeds import CONFIDENCE

Method = Literal["mixed model", "random-effects meta-analysis", "mean"]


class Gain(NamedTuple):
    """One evaluation: the gain in test accuracy of a model on a task with a seed."""

    model: str
    task: str
    seed: int
    delta: float


@dataclass(frozen=True)
class PooledGain:
    """The mean gain over models and tasks.

    Variances are of the gain, in squared accuracy; None where `method` does not estimate it.

    Attributes:
        method: How it was pooled.
        mean: Gain in accuracy to expect of a further model, task and seed like these.
        ci_low: Lower end of its 95 % interval.
        ci_high: Upper end.
        standard_error: Of the mean.
        df: Degrees of freedom of the interval's t distribution.
        p_value: Two-sided, against no gain.
        model_variance: Between models.
        task_variance: Between tasks.
        cell_variance: Between cells of model and task, beyond what their model and task explain.
        seed_variance: Between seeds of a cell.
        n_models: Models.
        n_tasks: Tasks.
        n_cells: Pairs of model and task with a gain.
        n_rows: Gains.
        note: Why it was pooled like this, and what the interval does not cover.
    """

    method: Method
    mean: float
    ci_low: float | None
    ci_high: float | None
    standard_error: float | None
    df: int
    p_value: float | None
    model_variance: float | None
    task_variance: float | None
    cell_variance: float | None
    seed_variance: float | None
    n_models: int
    n_tasks: int
    n_cells: int
    n_rows: int
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self)


class _Estimate(NamedTuple):
    method: Method
    mean: float
    error: float | None
    df: int
    note: str
    model: float | None = None
    task: float | None = None
    cell: float | None = None
    seed: float | None = None


def pooled_gain(rows: Sequence[Gain]) -> PooledGain:
    """Pool the gains of models x tasks x seeds.

    A mixed model with crossed random intercepts of model and task (and of their pair, where a pair
    has several seeds), by restricted maximum likelihood. Its interval takes a t distribution on
    one less than the number of models or of tasks, whichever is smaller: with three models, hardly
    anything is known of a fourth, which the usual normal interval hides.

    With one model or one task, or where the fit fails, a random-effects meta-analysis over the
    cells (Paule & Mandel's variance, Hartung & Knapp's standard error), which needs seeds that
    differ in every cell; else the plain mean of the cells, or of the seeds of a single cell.

    Raises:
        ValueError: If there is no row, a gain is not finite or a seed comes twice in a cell.
    """
    if not rows or not all(np.isfinite(row.delta) for row in rows):
        raise ValueError("the gains must be finite, and at least one")
    if len({row[:3] for row in rows}) < len(rows):
        raise ValueError("a model, task and seed come more than once")
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        cells[row.model, row.task].append(row.delta)
    n_models, n_tasks = len({m for m, _ in cells}), len({t for _, t in cells})
    found = None
    reason = "there is only one model" if n_models < 2 else "there is only one task"
    if n_models > 1 and n_tasks > 1:
        reason = "no mixed model fits; the cells count as independent, which they are not"
        found = _mixed(cells, min(n_models, n_tasks) - 1)
    found = found or _meta(cells, reason) or _mean(cells, reason)
    low = high = p_value = None
    if found.error is not None:
        half = float(stats.t.isf((1 - CONFIDENCE) / 2, found.df)) * found.error
        low, high = found.mean - half, found.mean + half
        if found.error > 0:
            p_value = float(2 * stats.t.sf(abs(found.mean) / found.error, found.df))
    return PooledGain(
        method=found.method,
        mean=found.mean,
        ci_low=low,
        ci_high=high,
        standard_error=found.error,
        df=found.df,
        p_value=p_value,
        model_variance=found.model,
        task_variance=found.task,
        cell_variance=found.cell,
        seed_variance=found.seed,
        n_models=n_models,
        n_tasks=n_tasks,
        n_cells=len(cells),
        n_rows=len(rows),
        note=found.note,
    )


def _mixed(cells: dict[tuple[str, str], list[float]], df: int) -> _Estimate | None:
    # Without seeds that differ, what is left within a cell is the cell's own deviation.
    seeds = any(_varies(deltas) for deltas in cells.values())
    used = cells if seeds else {cell: [float(np.mean(d))] for cell, d in cells.items()}
    deltas = np.array([delta for found in used.values() for delta in found])
    if not _varies(deltas):
        return None

    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    names = [cell for cell, found in used.items() for _ in found]
    table = pd.DataFrame(names, columns=["model", "task"])
    table["cell"] = [f"{len(model)}:{model}{task}" for model, task in names]
    table["delta"] = deltas
    parts = {"model": "0 + C(model)", "task": "0 + C(task)"}
    if seeds:
        parts["cell"] = "0 + C(cell)"
    model = MixedLM.from_formula(
        "delta ~ 1", groups=np.ones(len(table)), re_formula="0", vc_formula=parts, data=table
    )
    # A variance of zero lies on the boundary, which is an answer and no fault: gradients vanish
    # there, hence these two searches, and a singular matrix there stops one but seldom both.
    for search in ("powell", "nm"):
        with warnings.catch_warnings(), contextlib.suppress(np.linalg.LinAlgError):
            warnings.simplefilter("ignore")
            fit = model.fit(reml=True, method=search)
            variances = dict(zip(model.exog_vc.names, map(float, fit.vcomp), strict=True))
            mean, error = float(fit.fe_params.iloc[0]), float(fit.bse_fe.iloc[0])
            if fit.converged and np.isfinite([mean, *variances.values()]).all() and error > 0:
                break
    else:
        return None
    note = "" if seeds else "the seeds of a cell do not differ, so its variance is not separate"
    return _Estimate(
        "mixed model",
        mean,
        error,
        df,
        note,
        variances["model"],
        variances["task"],
        variances.get("cell", float(fit.scale)),
        float(fit.scale) if seeds else None,
    )


def _meta(cells: dict[tuple[str, str], list[float]], reason: str) -> _Estimate | None:
    if len(cells) < 2 or not all(map(_varies, cells.values())):
        return None

    from statsmodels.stats.meta_analysis import combine_effects

    effects = np.array([np.mean(deltas) for deltas in cells.values()])
    variances = np.array([np.var(deltas, ddof=1) / len(deltas) for deltas in cells.values()])
    found = combine_effects(effects, variances, method_re="iterated", use_t=True)
    return _Estimate(
        "random-effects meta-analysis",
        float(found.mean_effect_re),
        float(np.sqrt(found.var_hksj_re)),
        len(cells) - 1,
        reason,
        cell=float(found.tau2),
    )


def _mean(cells: dict[tuple[str, str], list[float]], reason: str) -> _Estimate:
    single = len(cells) == 1
    values = next(iter(cells.values())) if single else [float(np.mean(d)) for d in cells.values()]
    error = None
    if len(values) > 1:
        error = float(stats.sem(values)) if _varies(values) else 0.0
    note = f"{reason}; the mean of the {'seeds' if single else 'cells'}"
    if not error:
        note += ", which do not vary"
    return _Estimate("mean", float(np.mean(values)), error, len(values) - 1, note)


def _varies(values: Sequence[float] | np.ndarray) -> bool:
    # Gains are differences of accuracies: less than this is rounding.
    return bool(np.ptp(values) > 1e-12)
