"""The form of a recipe in Prefect: what the server knows of it and what it refuses."""

from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import is_valid_schema, validate

from flows import deployment
from flows.extract import extract
from flows.study_cell import study_cell
from flows.train import train
from flows.watch import watch
from pas.options import Option, options_of
from pas.recipe import Recipe

DEPLOYMENTS = yaml.safe_load(deployment.DEPLOYMENTS.read_text())["deployments"]
# What no file can know: which vector is meant, on which rows, or what another run needs.
NEEDED = {
    "watch": {"name", "data"},
    "promote": {"name"},
    "rollback": {"name"},
    "study-cell": {"cell"},
    "share": {"training"},
}


def schema_of(flow: Any) -> dict[str, Any]:
    schema = parameter_schema(flow).model_dump()
    is_valid_schema(schema)
    return schema


def entry(schema: dict[str, Any], option: Option) -> dict[str, Any]:
    """Return the form's field of an option, through the groups."""
    model = schema["definitions"]["Recipe"]
    for name in option.path[:-1]:
        offered = model["properties"][name]
        refs = [o["$ref"] for o in offered.get("anyOf", [offered]) if "$ref" in o]
        model = schema["definitions"][refs[0].rsplit("/", 1)[1]]
    found: dict[str, Any] = model["properties"][option.path[-1]]
    return found


@pytest.mark.parametrize("flow", [train, extract])
def test_the_form_is_nested_ordered_and_described(flow: Any) -> None:
    schema = schema_of(flow)
    for option in options_of(Recipe):
        assert entry(schema, option)["description"] == option.description
        assert entry(schema, option)["title"]
    shown = schema["definitions"]["Recipe"]["properties"]
    assert list(shown) == list(Recipe.model_fields)
    assert all(field["title"] and field["description"] for field in shown.values())
    assert [field["position"] for field in shown.values()] == list(range(len(shown)))
    assert schema["definitions"]["Recipe"]["required"] == ["task"]
    site = next(option for option in options_of(Recipe) if option.name == "site")
    assert entry(schema, site)["enum"] == ["residual", "attention", "mlp", "mlp_norm"]


@pytest.mark.parametrize(
    "recipe",
    [
        {"task": "demo"},
        {"task": "demo", "model": "demo", "layers": "10,12", "strengths": "2,4"},
        {"task": "demo", "model": {"id": "org/name", "dtype": "float16"}, "layers": [10, 12]},
        {"task": "own", "data": "a.csv", "mapping": {"choices": ["a", "b"]}, "max_kl": None},
        {"task": "own", "data": {"name": "a.csv", "split": "test"}, "strengths": [0.5, 1]},
        Recipe.read({"task": "own", "data": "a.csv", "layers": "1,2"}).model_dump(mode="json"),
    ],
)
def test_what_the_server_accepts_is_a_recipe(recipe: dict[str, Any]) -> None:
    assert validate({"recipe": recipe}, schema_of(train)) == []
    cell = {"setting": "main", "variant": "", "recipe": recipe}
    assert validate({"cell": cell}, schema_of(study_cell)) == []
    Recipe.read(recipe)


@pytest.mark.parametrize(
    "wrong",
    [
        {"strenghts": "1"},
        {"model": {"id": "demo", "dtyp": "auto"}},
        {"mapping": {"choice": "a"}},
        {"protocol": "fast"},
        {"max_items": 4},
        {"max_kl": 0},
        {"seed": "x"},
    ],
)
def test_what_is_no_recipe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="(?i)not valid|unexpected|not one of|less|type"):
        validate({"recipe": {"task": "demo"} | wrong}, schema_of(train), raise_on_error=True)


@pytest.mark.parametrize("deployed", DEPLOYMENTS, ids=[d["name"] for d in DEPLOYMENTS])
def test_every_deployments_form_reads_well_and_takes_its_parameters(
    deployed: dict[str, Any],
) -> None:
    schema = schema_of(load_flow_from_entrypoint(deployed["entrypoint"]))
    for name, field in schema["properties"].items():
        assert field.get("description"), f"{deployed['name']}: {name} has no description"
    assert deployed["description"].endswith(".") and deployed["tags"]
    given = deployed.get("parameters", {})
    lacking = {*schema["required"]} - {*given}
    assert lacking == NEEDED.get(deployed["name"], set())
    if not lacking:
        assert validate(given, schema) == []


def test_data_may_be_given_as_a_path_or_in_full() -> None:
    schema = schema_of(watch)
    for data in ("week.csv", {"name": "week.csv", "split": "test", "format": "csv"}):
        assert validate({"name": "pas-a-b", "data": data}, schema) == []
    with pytest.raises(Exception, match="(?i)not valid|unexpected"):
        wrong = {"name": "pas-a-b", "data": {"name": "week.csv", "splitt": "test"}}
        validate(wrong, schema, raise_on_error=True)
