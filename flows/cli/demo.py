"""`pas demo`: the whole pipeline on the project's own data set and a small model."""

from typing import Annotated, Literal

import typer

from flows.cli.display import Json, Verbose, print_json, print_table, say
from flows.cli.training import show
from flows.cli.vectors import show_decision

# All items, for the test's power, and of the grid only a part where other seeds' validation items
# showed an effect with little damage; `pas train --task demo --prompt plain` takes the whole grid.
LAYERS, STRENGTHS = (16, 18), (0.5, 1.0)
SHOWN, MAX_NEW_TOKENS = 3, 30


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", help=demo.__doc__)(demo)


def demo(
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    prompt: Annotated[
        Literal["plain", "chat", "auto"],
        typer.Option(help="How prompts are laid out; the data were written for plain."),
    ] = "plain",
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show everything once: data, activations, vectors, sweep, evidence, promotion, text.

    Teaches SmolLM2-135M a cheerful outlook from labelled answers. Takes some minutes on two cores
    the first time; the second time everything is cached.
    """
    from flows.cli.session import begin, call

    begin(verbose=verbose)
    from pas.methods.contrast import METHODS
    from pas.reading import take_in
    from pas.recipe import Recipe
    from storage.http import without_credentials
    from storage.registry.versions import load_vector, resolve
    from storage.settings import settings
    from tasks import resources
    from tasks.load import load_split
    from tasks.texts import sample_texts

    recipe = Recipe.read(
        {
            "task": "demo",
            "prompt": prompt,
            "layers": LAYERS,
            "strengths": STRENGTHS,
            "seed": seed,
            "methods": tuple(METHODS),
        }
    )
    say("model: SmolLM2-135M-Instruct (downloaded and converted the first time)")
    resources.model_info(recipe.model)
    from flows.promote import promote
    from flows.train import train

    trained = call(train, recipe)
    decision = call(promote, trained.outcome.model_name, trained.outcome.version)
    registry = resources.registry()
    champion = resolve(registry, trained.outcome.model_name)
    vector = load_vector(registry, champion)
    # The first scenarios of the test items, which the vector was not made from.
    test = load_split(recipe, take_in(recipe).examples).test
    prompts = list(dict.fromkeys(e.question for e in test))[:SHOWN]
    texts = sample_texts(vector, prompts, MAX_NEW_TOKENS)
    if json:
        print_json(
            trained.outcome.as_dict()
            | {"promoted": decision.promoted or decision.unchanged, "texts": texts}
        )
        return
    show(trained)
    show_decision(decision)
    rows = [(kind, text) for sample in texts for kind, text in sample.items()]
    print_table(f"Text by {champion.name}, version {champion.version}", ("", "text"), rows)
    name = champion.name
    say(f"everything is stored in {settings().root}; to look further:")
    shown = prompts[0].replace("\n", "\\n")
    say(f"  pas steer {name} $'{shown}' --compare")
    say('  pas sql "SELECT method, layer, max(accuracy) FROM sweeps GROUP BY ALL ORDER BY 3 DESC"')
    say(f"  mlflow ui --backend-store-uri {without_credentials(registry.tracking_uri)}")
