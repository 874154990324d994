"""Which items of a split the recipe's model can be asked."""

from pas.data.splits import Split
from pas.engine.scoring import unscorable
from pas.intake.items import refuse_bad_rows
from pas.recipe import Recipe
from tasks import resources


def scorable(recipe: Recipe, parts: Split) -> tuple[Split, tuple[str, ...]]:
    """Take items that the model's tokenizer does not let be scored for bad rows.

    Returns:
        The parts without them, and the items that were left out with the reasons.

    Raises:
        UserError: If there are some and they may not be left out. The message lists them.
    """
    info, rule = resources.model_info(recipe.model), resources.resolved(recipe).rule
    examples = [example for part in parts for example in part]
    reasons = unscorable(info, examples, rule)
    problems = tuple(f"item {item!r}: {reason}" for item, reason in reasons.items())
    refuse_bad_rows(problems, len(examples), f"--model {recipe.model.id}", recipe.bad_rows)
    kept = (tuple(e for e in part if e.id not in reasons) for part in parts)
    return Split(*kept), problems
