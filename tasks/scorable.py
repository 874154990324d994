"""Which items of a split the recipe's model can be asked."""

from pas.data.examples import rows_refused
from pas.data.splits import Split
from pas.engine.scoring import unscorable
from pas.recipe import Recipe
from tasks import resources


def check_scorable(recipe: Recipe, parts: Split) -> None:
    """Refuse items that the model's tokenizer does not let be scored, before anything is run.

    Raises:
        UserError: The message lists the items and the reasons.
    """
    info, rule = resources.model_info(recipe.model), resources.resolved(recipe).rule
    examples = [example for part in parts for example in part]
    reasons = unscorable(info, examples, rule)
    if reasons:
        problems = [f"item {item!r}: {reason}" for item, reason in reasons.items()]
        raise rows_refused(f"--model {recipe.model.id}", problems)
