"""The names of models."""

from pathlib import Path

from pas.models.spec import ModelSpec


def test_slugs_are_safe_names() -> None:
    assert ModelSpec("demo").slug == "smollm2-135m-instruct"
    assert ModelSpec("Org/Model_7B v2").slug == "model_7b-v2"
    assert ModelSpec("/a/b/Some.Q4.gguf").slug == "some.q4"
    assert ModelSpec("//").slug == "model"


def test_a_local_model_is_found_from_any_folder(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "models" / "org").mkdir(parents=True)
    (tmp_path / "models" / "a.gguf").touch()
    monkeypatch.chdir(tmp_path / "models" / "org")
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, found in (
        ("../a.gguf", tmp_path / "models" / "a.gguf"),
        (".", tmp_path / "models" / "org"),
        ("~/models/org", tmp_path / "models" / "org"),
        (str(tmp_path / "models"), tmp_path / "models"),
        ("org/model", "org/model"),
        ("demo", "demo"),
    ):
        spec = ModelSpec(given, revision="r")
        assert spec.located == ModelSpec(str(found), revision="r")
