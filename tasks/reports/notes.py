"""What MLflow's pages say about a training, in Markdown: its run, its version, its vector."""

import math
from collections.abc import Mapping

from pas.evidence.evaluation import Evaluation
from pas.recipe import Recipe
from pas.steering.vector import SteeringVector
from storage.registry.runs import Notes
from tasks.reports.words import between, p_value, plain, plural, signed


def notes(
    recipe: Recipe,
    evaluation: Evaluation,
    vector: SteeringVector,
    name: str,
    links: Mapping[str, str | None],
) -> Notes:
    """Return the descriptions of a training.

    Args:
        recipe: What was asked for.
        evaluation: Its evidence.
        vector: What came of it.
        name: Registered model.
        links: Addresses by what they lead to; those that are None are left out.
    """
    about = f"task **{recipe.label}** on the model **{recipe.model.slug}**"
    judged = f"**{evaluation.verdict.label}**: {evaluation.verdict.explanation}"
    does = (
        f"Adds {vector.strength:g} × a direction found by {vector.method} to block {vector.layer} "
        f"({vector.site}), at the last prompt token and every generated one. Trained for the "
        f"{about}, protocol {recipe.protocol}, seed {recipe.seed}."
    )
    numbers = _numbers(evaluation)
    linked = " · ".join(f"[{what}]({address})" for what, address in links.items() if address)
    return Notes(
        run="\n\n".join(filter(None, [judged, numbers, linked])),
        version=lambda number: "\n\n".join([judged, does, numbers, _use(name, str(number))]),
        model=f"Steering vectors for the {about}. Each version's page says how good it is and what "
        f"it costs. The champion is the one to use:\n\n{_use(name, '@champion')}",
    )


def _numbers(evaluation: Evaluation) -> str:
    test, damage = evaluation.test, evaluation.damage
    before, after = (f"{math.exp(nll):.1f}" for nll in (damage.nll_before, damage.nll_after))
    return "\n".join(
        [
            "| | unsteered | steered | |",
            "|---|---|---|---|",
            f"| test accuracy | {plain(test.baseline_accuracy)} | {plain(test.steered_accuracy)} | "
            f"gain {signed(test.delta)}, 95 % interval {between(test.ci_low, test.ci_high)}, "
            f"p {p_value(test.p_value)}, {plural(test.n, 'item')} |",
            f"| validation accuracy | {plain(evaluation.validation_unsteered)} | "
            f"{plain(evaluation.validation_accuracy)} | the vector was selected on these items |",
            *(
                f"| test accuracy, {one.way} | {plain(one.asked.steered_accuracy)} | "
                f"{plain(one.both.steered_accuracy)} | "
                f"the vector adds {signed(one.both.delta)}, p {p_value(one.both.p_value)} |"
                for one in evaluation.controls.asking
            ),
            f"| perplexity of neutral text | {before} | {after} | "
            f"damage {damage.kl:.3f} nats per token |",
        ]
    )


def _use(name: str, version: str) -> str:
    """Return the code that uses a version, a number or `@alias`."""
    place = version if version.startswith("@") else f"/{version}"
    reference = version if version.startswith("@") else f":{version}"
    return f"""```bash
pas steer {name}{reference} "your text"
```

```python
import mlflow

model = mlflow.pyfunc.load_model("models:/{name}{place}")
model.predict(["your text"], params={{"max_new_tokens": 60}})
```"""
