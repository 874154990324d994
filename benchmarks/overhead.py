"""The fixed time of a training, measured with a model whose own work takes almost no time."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.material import arguments
from benchmarks.timing import save, show

LIBRARIES = ("torch", "transformers", "prefect", "mlflow", "duckdb")
TOLD_APART = (
    *LIBRARIES,
    "pyarrow",
    "scipy",
    "pandas",
    "matplotlib",
    "datasets",
    "sqlalchemy",
    "pas",
    "storage",
    "tasks",
    "flows",
)
RUNS = {"cold": 0, "warm": 1, "cached": 1}  # the seed of each, in this order in one home
TEN_MINUTES = 600
TASKS = 20
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def toy(folder: Path) -> list[str]:
    """Arguments of `pas train` on toy questions and a tiny random model."""
    from transformers.utils.logging import disable_progress_bar

    from tests.helpers.data_files import write_toy
    from tests.helpers.tiny_models import save_tiny

    disable_progress_bar()
    data, model = write_toy(folder / "toy.jsonl"), save_tiny("llama", folder / "tiny")
    return [
        "train",
        "--task",
        "toy",
        "--data",
        str(data),
        "--model",
        str(model),
        "--layers",
        "1,2",
        "--strengths",
        "1,4",
        "--device",
        "cpu",
        "--json",
    ]


def environment(folder: Path, home: str) -> dict[str, str]:
    """Return the environment with a home of its own and without other settings of `pas`."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PAS_", "PREFECT_", "MLFLOW_"))
    }
    return {**kept, "PAS_HOME": str(folder / home), "PAS_CACHE_DIR": str(folder / "cache")}


def called(
    command: Sequence[str], env: Mapping[str, str]
) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Return the wall seconds of a fresh process, and its output."""
    start = perf_counter()
    done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True)  # noqa: PLW1510
    return perf_counter() - start, done


def must(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise SystemExit(f"{' '.join(done.args[1:4])} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def starts(env: Mapping[str, str]) -> dict[str, float]:
    """Return the seconds of processes that do almost nothing, without commands that fail."""
    commands = {"python": ["-c", ""]}
    commands |= {f"import {name}": ["-c", f"import {name}"] for name in LIBRARIES}
    commands |= {"pas --help": ["-m", "flows.cli", "--help"]}
    commands |= {"pas --version": ["-m", "flows.cli", "--version"]}
    commands |= {"pas tasks": ["-m", "flows.cli", "tasks"]}
    taken = {name: called(command, env) for name, command in commands.items()}
    return {name: seconds for name, (seconds, done) in taken.items() if not done.returncode}


def trained(arguments: Sequence[str], env: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Return the wall seconds of a `pas train`, and those of its steps from its log."""
    wall, done = called(["-m", "flows.cli", *arguments, "--seed", str(seed)], env)
    steps = json.loads(must(done))["seconds"]
    return {"wall": wall, **steps, "around the flow": wall - steps["total"]}


def imported(arguments: Sequence[str], env: Mapping[str, str]) -> dict[str, float]:
    """Seconds of module bodies in a cached `pas train`, by top-level package (own time)."""
    command = ["-X", "importtime", "-m", "flows.cli", *arguments, "--seed", str(RUNS["cached"])]
    _, done = called(command, env)
    must(done)
    own: Counter[str] = Counter()
    for micros, name in _IMPORT.findall(done.stderr):
        package = name.split(".")[0]
        own[package if package in TOLD_APART else "other"] += int(micros)
    return {name: micros / 1e6 for name, micros in own.most_common()}


def probe() -> None:
    """Time the parts in this process and print them as JSON; the home holds a training."""
    from flows.runtime import make_home, prepare_environment
    from storage.settings import settings

    seconds: dict[str, float] = {}

    def timed(name: str, action: Callable[[], Any]) -> Any:
        start = perf_counter()
        found = action()
        seconds[name] = perf_counter() - start
        return found

    prepare_environment(settings().root)
    make_home(settings().root)
    import torch
    from prefect import flow

    from pas.models.spec import ModelSpec
    from storage.catalogue.session import open_session
    from storage.registry.client import ensure_experiment
    from tasks import resources
    from tasks.caching import filling

    torch.zeros(1)

    nothing = filling("nothing", lambda address: str(address))

    @flow(name="tasks")
    def tasks(n: int) -> float:
        lake, start = resources.lake(), perf_counter()
        for at in range(n):  # nobody writes there, so the lake never answers
            address = lake.address("stages", "nothing", f"{at}.parquet")
            nothing(address)
        return (perf_counter() - start) / max(n, 1)

    def query() -> None:
        with open_session(resources.lake()) as connection:
            connection.sql("SELECT 1").fetchall()

    timed("Prefect: first flow", lambda: tasks(0))  # starts the server
    timed("Prefect: an empty flow", lambda: tasks(0))
    tasks(1)
    # Measured within the flow: its end waits for a heartbeat's thread that sleeps whole seconds.
    seconds["Prefect: a task"] = tasks(TASKS)
    timed("MLflow: first use", lambda: ensure_experiment(resources.registry(), "pas"))
    timed("MLflow: experiment looked up", lambda: ensure_experiment(resources.registry(), "pas"))
    timed("DuckDB: first session", query)
    timed("DuckDB: a session", query)
    spec = ModelSpec(sys.argv[-1], device="cpu")
    timed("model: tokenizer and fingerprint", lambda: resources.model_info(spec))
    timed("model: weights", lambda: resources.model(spec))
    from prefect.server.api.server import SubprocessASGIServer

    timed("Prefect: server stopped", lambda: SubprocessASGIServer().stop())
    print(json.dumps(seconds))


def probed(model: str, env: Mapping[str, str]) -> dict[str, float]:
    _, done = called(["-m", "benchmarks.overhead", "--probe", model], env)
    found: dict[str, float] = json.loads(must(done).splitlines()[-1])
    return found


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


def lines_of(values: Mapping[str, float], what: str) -> list[dict[str, Any]]:
    return [{what: name, "seconds": seconds} for name, seconds in values.items()]


def main() -> None:
    parser = arguments(
        "overhead", __doc__ or "", "python -m benchmarks.overhead --repeats 3 --out overhead.json"
    )
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNS}
    begun, parts, modules = [], [], []
    with tempfile.TemporaryDirectory(prefix="pas-overhead-") as scratch:
        folder = Path(scratch)
        command = toy(folder)
        model = command[command.index("--model") + 1]
        called(["-m", "flows.cli", "tasks"], environment(folder, "unused"))  # files off the disk
        for turn in range(options.repeats):
            env = environment(folder, f"home-{turn}")
            for name, seed in RUNS.items():
                runs[name].append(trained(command, env, seed))
            begun.append(starts(env))
            parts.append(probed(model, env))
            modules.append(imported(command, env))
    middle = {name: medians(rounds) for name, rounds in runs.items()}
    steps = list(middle["cold"])
    lines = [{"seconds of": s, **{name: middle[name][s] for name in RUNS}} for s in steps]
    share = {name: middle[name]["wall"] / TEN_MINUTES for name in RUNS}
    lines.append({"seconds of": "wall, share of 10 min", **share})
    names = list(dict.fromkeys(name for one in modules for name in one))
    own = medians([{name: one.get(name, 0.0) for name in names} for one in modules])
    own = {"all": sum(own.values()), **own}
    show("Processes", lines_of(medians(begun), "a fresh process"))
    show("Modules of a cached pas train", lines_of(own, "package, its own modules"))
    show("Parts, in a home that holds a training", lines_of(medians(parts), "part"))
    notes = [
        f"pas train on toy questions with a tiny random model, medians of {options.repeats}, each "
        "in a new home: cold makes its databases, warm is the second training with another seed, "
        "cached the second one again.",
        "wall is the whole process; the steps and their total are what --json tells; around the "
        "flow are imports, the start of Prefect's server, the forecast, and the end.",
    ]
    show("pas train", lines, notes)
    save(
        options.out,
        {
            "benchmark": "overhead",
            "options": {"repeats": options.repeats},
            "table": lines,
            "processes": begun,
            "modules": modules,
            "parts": parts,
            "runs": runs,
            "notes": notes,
        },
    )


if __name__ == "__main__":
    if "--probe" in sys.argv[1:]:
        probe()
    else:
        main()
