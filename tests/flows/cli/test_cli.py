"""The command line: what it prints, what it refuses, and that refusing leaves nothing behind."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flows.cli.display import print_table
from pas.models.spec import ModelSpec
from pas.steering.vector import SteeringVector
from storage.lake.files import open_lake
from storage.lake.tables import write_run_table
from storage.registry.runs import TrainingData, TrainingRecord, log_training, open_run
from storage.settings import Registry, settings
from tests.helpers.chat_templates import THINKING
from tests.helpers.data_files import write_toy
from tests.helpers.places import ROOT
from tests.helpers.tiny_models import save_tiny

LONG_NAME = "pas-smollm2-135m-instruct-demo"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy.jsonl")


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


TOY = ("train", "--task", "toy", "--model", "MODEL", "--data")
GOOD = '{"question": "q%d?", "choices": ["a b", "c d"], "label": 0}\n'

MISTAKES = {
    "missing column": (lambda d: [*TOY, write_toy(d / "t.jsonl"), "--question-col", "ask"],
                       ["no column 'ask'", "'question'", "--question-col"]),
    "label out of range": (lambda d: [*TOY, write_toy(d / "t.jsonl", label=9)],
                           ["row 7", "out of range"]),
    "one choice": (lambda d: [*TOY, write_toy(d / "t.jsonl", choices=["x"], label=0)],
                   ["row 7", "1 choice(s)"]),
    "duplicate ids": (lambda d: [*TOY, write_toy(d / "t.jsonl", id="toy-0-0"), "--id-col", "id"],
                      ["row 7", "used by row 1"]),
    "empty file": (lambda d: [*TOY, write(d, "t.jsonl", "")], ["empty"]),
    "only a header": (lambda d: [*TOY, write(d, "t.csv", "question,choices,label\n")],
                      ["t.csv"]),
    "no such file": (lambda d: [*TOY, d / "none.csv"], ["no such file"]),
    "no table": (lambda d: [*TOY, write(d, "t.bin", "x")], ["no rows", "parquet"]),
    "broken json": (lambda d: [*TOY, write(d, "t.jsonl", "{nope")], ["t.jsonl"]),
    "prompt too long": (lambda d: [*TOY, write_toy(d / "t.jsonl", question="heron " * 2000)],
                        ["context window", "1024"]),
    "no such model": (lambda d: ["train", "--task", "toy", "--data", write_toy(d / "t.jsonl"),
                                 "--model", "./nowhere"], ["--model ./nowhere"]),
    "too few groups": (lambda d: [*TOY, write_toy(d / "t.jsonl", 8), "--group-col", "half"],
                       ["group", "--group-col"]),
    "unknown task": (lambda d: ["train", "--task", "bqq_age"], ["not built in", "bbq_age"]),
    "unsafe task": (lambda d: ["train", "--task", "../x", "--data", write_toy(d / "t.jsonl")],
                    ["--task"]),
    "bad layers": (lambda d: [*TOY, write_toy(d / "t.jsonl"), "--layers", "2,77"],
                   ["layer 77", "0 to 3"]),
    "bad strengths": (lambda d: [*TOY, write_toy(d / "t.jsonl"), "--strengths", "strong"],
                      ["--strengths strong"]),
    "bad method": (lambda d: [*TOY, write_toy(d / "t.jsonl"), "--methods", "pas"],
                   ["--methods", "ipaswo"]),
    "bad protocol": (lambda d: [*TOY, write_toy(d / "t.jsonl"), "--protocol", "fast"],
                     ["--protocol"]),
    "no damage allowed": (lambda d: [*TOY, write_toy(d / "t.jsonl"), "--max-kl", "0"],
                          ["--max-kl 0", "none"]),
    "damage in words": (lambda d: [*TOY, write_toy(d / "t.jsonl"), "--max-kl", "little"],
                        ["--max-kl little", "none"]),
    "system without a template": (
        lambda d: [*TOY, write_toy(d / "t.jsonl"), "--model", "MODEL", "--system", "Be brief."],
        ["--system", "no chat template"]),
    "chat without a template": (
        lambda d: [*TOY, write_toy(d / "t.jsonl"), "--model", "MODEL", "--prompt", "chat"],
        ["--prompt chat", "--prompt plain"]),
    "steer with nothing": (lambda d: ["steer", "pas-x-y"], ["--messages"]),
    "steer with both": (lambda d: ["steer", "pas-x-y", "a", "--messages", d / "a"], ["--messages"]),
    "no conversation": (lambda d: ["steer", "pas-x-y", "--messages", write(d, "m.json", "{}")],
                        ["m.json", "role and content"]),
    "no file of messages": (lambda d: ["steer", "pas-x-y", "--messages", d / "none.json"],
                            ["--messages", "none.json"]),
    "no such vector": (lambda d: ["steer", "pas-x-y", "hello"], ["pas-x-y"]),
    "promote nothing": (lambda d: ["promote", "pas-x-y"], ["pas-x-y"]),
    "writing sql": (lambda d: ["sql", "DROP VIEW items"], ["sql", "items"]),
    "broken sql": (lambda d: ["sql", "SELECT nonsense FROM items"], ["nonsense"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_with_code_2_one_message_and_nothing_written(
    name, pas, home, tmp_path, tiny_folder
) -> None:
    build, expected = MISTAKES[name]
    arguments = [tiny_folder if a == "MODEL" else a for a in build(tmp_path)]
    ran = pas(*arguments)
    assert ran.code == 2, ran
    message = ran.err[ran.err.index("error:") :]
    assert all(part in message for part in expected), message
    assert "Traceback" not in ran.err + ran.out and ran.out == ""
    left = [p for p in home.rglob("*") if p.is_file() and not p.name.startswith("mlflow.db")]
    assert left == []


@pytest.mark.server
def test_the_whole_cycle(pas, toy, tiny_folder, home) -> None:
    options = [
        "train", "--task", "toy", "--data", toy, "--model", tiny_folder, "--group-col", "topic",
        "--layers", "1,2", "--strengths", "1,4",
    ]  # fmt: skip
    planned = json.loads(pas(*options, "--dry-run", "--json").out)
    assert planned["prompts_cached"] == 0
    assert not home.exists(), "a dry run writes nothing"

    trained = json.loads(pas(*options, "--json").out)
    assert planned["prompts"] == trained["prompts_total"] == trained["prompts_extracted"]
    name = trained["model_name"]
    assert name == "pas-tiny-llama-toy" and trained["version"] == 1
    assert {"load", "predict", "extract", "sweep", "total"} <= trained["seconds"].keys()

    planned = json.loads(pas(*options, "--dry-run", "--json").out)
    assert planned["prompts"] == planned["prompts_cached"] == trained["prompts_total"]
    shown = pas(*options)
    assert "McNemar" in shown.out and "protocol" in shown.out and shown.code == 0
    assert f"version 1 of {name} has this very vector" in shown.err

    rows = json.loads(pas("sql", "SELECT count(*) AS n FROM items GROUP BY run_id", "--json").out)
    assert rows == [{"n": 60}, {"n": 60}]
    assert "accuracy" in pas("sql", "SELECT * FROM sweeps LIMIT 2").out

    versions = json.loads(pas("vectors", "--json").out)
    assert [v["version"] for v in versions] == [1]
    refused = pas("promote", name, "--version", 1)
    assert refused.code == 1 and "failed" in refused.out and "nothing changed" in refused.err

    texts = json.loads(
        pas("steer", f"{name}:1", "Where does the heron", "--strength", "8", "--compare",
            "--max-new-tokens", "12", "--json").out
    )  # fmt: skip
    assert texts["steered"] != texts["unsteered"]
    assert pas("vectors", name).code == 0

    [stats] = json.loads(pas("cache", "stats", "--json").out)
    assert stats["prompts"] == trained["prompts_total"]
    assert pas("cache", "verify").code == 0
    shard = next((home / "lake" / "activations").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    assert pas("cache", "verify").code == 1
    [gone] = json.loads(pas("cache", "gc", "--dry-run", "--json").out)
    assert shard.name in gone["address"] and shard.exists()
    pas("cache", "gc")
    assert not shard.exists() and pas("cache", "verify").code == 0


@pytest.mark.whole
@pytest.mark.server
def test_paper_and_sound_reports_say_how_they_differ(pas, toy, tiny_folder) -> None:
    options = ["train", "--task", "toy", "--data", toy, "--model", tiny_folder,
               "--group-col", "topic", "--layers", "1", "--strengths", "1"]  # fmt: skip
    paper, sound = (pas(*options, "--protocol", p).out for p in ("paper", "sound"))
    assert "one permutation" in paper and "block L-1" in paper
    assert "per item" in sound and re.search(r"passed\s+split\s+0 of", sound)
    assert re.search(r"failed\s+split\s+[1-9]", paper)


@pytest.mark.server
def test_a_vector_for_a_chat_model_from_training_to_text(pas, toy, tmp_path, home) -> None:
    model = save_tiny("llama", tmp_path / "chat-model", chat_template=THINKING.text)
    options = ["train", "--task", "toy", "--data", toy, "--model", model, "--methods", "caa",
               "--layers", "1", "--strengths", "4", "--max-kl", "none"]  # fmt: skip
    ran = pas(*options)
    told = "first words in it; --close-thinking"
    assert told in ran.err and told in " ".join(ran.out.split())
    [page] = (home / "runs").glob("*.html")
    assert "the template opens a thinking block" in page.read_text()
    assert "after an empty thinking block" in pas(*options, "--close-thinking").err

    name = "pas-chat-model-toy"
    conversation = [{"role": "user", "content": "Where does the heron"}]
    file = write(tmp_path, "messages.json", json.dumps(conversation))
    end = ["--strength", "8", "--compare", "--max-new-tokens", "12", "--json"]
    text, messages = (
        json.loads(pas("steer", name, *request, *end).out)
        for request in (["Where does the heron"], ["--messages", file])
    )
    assert messages.pop("messages") == conversation and text.pop("prompt")
    assert text == messages and text["steered"] != text["unsteered"]


def test_csv_with_one_column_per_choice(pas, tmp_path, tiny_folder) -> None:
    file = tmp_path / "own.csv"
    with file.open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["ask", "first", "second", "right"])
        table.writerows([f"Where is heron {i}?", "in the reeds", "on the roof", "AB"[i % 2]]
                        for i in range(30))  # fmt: skip
    ran = pas("train", "--task", "own", "--data", file, "--model", tiny_folder, "--question-col",
              "ask", "--choices-col", "first,second", "--label-col", "right", "--dry-run",
              "--json")  # fmt: skip
    assert json.loads(ran.out)["items"] == {"train": 18, "val": 6, "test": 6}


@pytest.mark.server
def test_no_wrong_answer_is_a_mistake_too(pas, toy, tiny_folder, tmp_path) -> None:
    options = ["train", "--task", "toy", "--model", tiny_folder, "--layers", "1", "--strengths",
               "1", "--scoring", "choice", "--data"]  # fmt: skip
    assert pas(*options, toy, "--methods", "caa", "--json").code == 0
    sql = "SELECT prompt AS question, choices, baseline_choice AS label FROM items"
    answered = json.loads(pas("sql", sql, "--json").out)
    right = write(tmp_path, "right.jsonl", "\n".join(map(json.dumps, answered)))
    ran = pas(*options, right, "--methods", "pasf,random")
    assert ran.code == 2 and "no negative example" in ran.err and "the method caa" in ran.err
    assert "Traceback" not in ran.err + ran.out


def test_tasks_and_doctor(pas) -> None:
    names = {task["task"]: task for task in json.loads(pas("tasks", "--json").out)}
    assert names["demo"]["scoring"] == "choice" and names["bbq_age"]["category"] == "bias"
    ran = pas("doctor", "--json")
    checks = {check["name"]: check["ok"] for check in json.loads(ran.out)}
    assert ran.code == 0 and all(checks.values()) and "Prefect" in checks


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['pas', '--help']\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'prefect', 'mlflow', 'duckdb', 'pyarrow', 'datasets'}\n"
        "sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pas demo" in done.stdout


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a home that holds a registered vector and one row of a table."""
    folder = tmp_path_factory.mktemp("listed")
    registry = Registry(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    vector = SteeringVector(
        direction=np.ones(8, np.float32), layer=12, site="residual", strength=2.0, method="ipaswo",
        model=ModelSpec("some/model"), fingerprint="f" * 32, task="demo",
    )  # fmt: skip
    tags = {
        "method": "ipaswo", "layer": 12, "strength": "2", "baseline_accuracy": "0.7580",
        "steered_accuracy": "0.8830", "verdict": "not better than a random direction",
    }  # fmt: skip
    data = TrainingData("demo", "here", "d" * 32, pa.table({"id": ["a"]}))
    with open_run(registry, experiment="pas", run_name="x") as run_id:
        log_training(registry, run_id, TrainingRecord(vector, data, "x", LONG_NAME, tags))
    swept = {"method": ["caa"], "layer": [1], "strength": [1.0], "n": [4], "correct": [3]}
    rows = pa.table(swept | {"accuracy": [0.75]})
    write_run_table(open_lake(str(folder / "lake")), "sweeps", run_id, rows)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PAS_", "MLFLOW_"))}
    return kept | {"PAS_HOME": str(folder), "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["vectors"], LONG_NAME),
        (["vectors", LONG_NAME, "--json"], '"verdict"'),
        (["sql", "SELECT method, max(accuracy) AS best FROM sweeps GROUP BY 1"], "0.75"),
        (["doctor", "--json"], "1 vector versions"),
    ],
)
def test_looking_loads_no_model_library_and_no_orchestrator(listed, command, shown) -> None:
    code = (
        "import sys; sys.argv = ['pas', *sys.argv[1:]]\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'prefect', 'datasets', 'matplotlib'}\n"
        "heavy |= {'pyarrow', 'numpy', 'pandas'} if sys.argv[1] == 'sql' else set()\n"
        "sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], env=listed, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_the_table_of_vectors_fits_100_columns(pas, listed, monkeypatch) -> None:
    monkeypatch.setenv("PAS_HOME", listed["PAS_HOME"])
    monkeypatch.setenv("COLUMNS", "100")
    settings.cache_clear()
    lines = pas("vectors").out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    [line] = [line for line in lines if LONG_NAME in line]
    assert f"{LONG_NAME}:1 " in line and "candidate" in line and "ipaswo 12 x2" in line
    assert ".758 → .883" in line and "not better" in line


def test_tables_show_square_brackets_as_they_are(pas, home) -> None:
    for shown in ("[bold]x[/bold]", "[/]", "[link=https://a.b]", r"\\[c]"):
        done = pas("sql", f"SELECT '{shown}' AS \"{shown} y\", ['{shown}'] AS listed")
        assert done.code == 0 and done.out.count(shown) == 3, done


def test_titles_show_square_brackets_as_they_are(capfd) -> None:
    print_table("about [sft] [/]", ("a",), [("b",)])
    assert "about [sft] [/]" in capfd.readouterr().out


def test_errors_show_square_brackets_as_they_are(pas, tmp_path: Path) -> None:
    for arguments in (("[bold]x[/bold]",), ("train", "--task", "toy", "--data", "[/]")):
        done = pas(*arguments)
        assert done.code == 2 and arguments[-1] in done.err


def test_json_has_no_numbers_that_json_lacks(pas) -> None:
    out = pas("sql", "SELECT 'nan'::DOUBLE AS n, [1.5, '-inf'::DOUBLE] AS listed", "--json").out

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    assert json.loads(out, parse_constant=refuse) == [{"n": "nan", "listed": [1.5, "-inf"]}]
