"""The names of models."""

from pas.models.spec import ModelSpec


def test_slugs_are_safe_names() -> None:
    assert ModelSpec("demo").slug == "smollm2-135m-instruct"
    assert ModelSpec("Org/Model_7B v2").slug == "model_7b-v2"
    assert ModelSpec("/a/b/Some.Q4.gguf").slug == "some.q4"
    assert ModelSpec("//").slug == "model"
