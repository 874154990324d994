"""How long commands take before and after their own work, in a home where everything is cached."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter, time
from typing import NamedTuple

from benchmarks.material import arguments
from benchmarks.overhead import environment, must, toy
from benchmarks.timing import ratio, save, show

# Until a flow of the heaviest command begins: imports, and Prefect's server.
READY = """
from time import time
import sys
from flows.cli.session import begin, call
begin(with_server=True)
import flows.train
from prefect import flow
call(flow(lambda: print(time()), name="ready"))
"""
AFTER_UP = "a flow begins, pas up"
SQL = "SELECT method, max(accuracy) AS best FROM sweeps GROUP BY 1"
# The same by the bare library.
DUCKDB = """
import duckdb, glob, os
files = glob.glob(os.environ["PAS_HOME"] + "/lake/tables/sweeps/*.parquet")
assert files
print(duckdb.sql(f"SELECT method, max(accuracy) FROM read_parquet({files}) GROUP BY 1"))
"""


class Cost(NamedTuple):
    """What a process takes, in seconds.

    Attributes:
        wall: From its start to its end, or to the first line of its flow.
        cpu: Of all processors until its end, with the processes that it starts and waits for. It
            says more on a machine that others use.
    """

    wall: float
    cpu: float


def taken(command: list[str], env: Mapping[str, str]) -> Cost:
    """Return what a fresh process takes."""
    before, start = _children(), perf_counter()
    _ran(command, env)
    return Cost(perf_counter() - start, _children() - before)


def ready(env: Mapping[str, str]) -> Cost:
    """Return what a process takes until the first line of its flow."""
    before, start = _children(), time()
    wall = float(_ran(["-c", READY], env).split()[-1]) - start
    return Cost(wall, _children() - before)


def _children() -> float:
    """Return the CPU seconds of the processes that were waited for."""
    so_far = os.times()
    return so_far.children_user + so_far.children_system


def _ran(command: list[str], env: Mapping[str, str]) -> str:
    """Run a command in the clone that its environment names; return its output."""
    return must(
        subprocess.run(  # noqa: PLW1510
            [sys.executable, *command],
            env=env,
            cwd=env["PYTHONPATH"],
            capture_output=True,
            text=True,
        )
    )


def main() -> None:
    parser = arguments("start", __doc__ or "", "python -m benchmarks.start --repeats 5")
    parser.add_argument(
        "--against", type=Path, help="another clone, measured in turns on the same machine"
    )
    options = parser.parse_args()
    clones = {"this": Path.cwd()} | ({"other": options.against} if options.against else {})
    with tempfile.TemporaryDirectory(prefix="pas-start-") as scratch:
        homes = {}
        command = toy(Path(scratch))
        for name, clone in clones.items():
            env = environment(Path(scratch), name) | {"PYTHONPATH": str(clone)}
            env |= {k: v for k, v in os.environ.items() if k == "OMP_NUM_THREADS"}
            env.pop("PAS_CACHE_DIR")  # the demo model, converted
            homes[name] = env
            fresh = {"train, a new home": taken(["-m", "flows.cli", *command], env).wall}
            print(f"{name}: {fresh}")
            taken(["-m", "flows.cli", "demo", "--json"], env)
        measures = {
            "a flow begins": lambda env: ready(env),
            "pas train, cached": lambda env: taken(["-m", "flows.cli", *command], env),
            "pas demo, cached": lambda env: taken(["-m", "flows.cli", "demo", "--json"], env),
            "import flows.train": lambda env: taken(["-c", "import flows.train"], env),
            "pas sql": lambda env: taken(["-m", "flows.cli", "sql", SQL], env),
            "the same by DuckDB": lambda env: taken(["-c", DUCKDB], env),
        }
        costs: dict[str, dict[str, list[Cost]]] = {m: {n: [] for n in homes} for m in measures}
        costs[AFTER_UP] = {"this": []}
        for turn in range(options.repeats):
            for measure, run in measures.items():
                for name in list(homes)[:: 1 if turn % 2 else -1]:
                    costs[measure][name].append(run(homes[name]))
            _ran(["-m", "flows.cli", "up"], homes["this"])
            costs[AFTER_UP]["this"].append(ready(homes["this"]))
            _ran(["-m", "flows.cli", "down"], homes["this"])
    rows = []
    for measure, found in costs.items():
        row: dict[str, object] = {"seconds until": measure}
        for unit in Cost._fields:
            values = {name: [getattr(c, unit) for c in each] for name, each in found.items()}
            row |= {f"{name}, {unit}": median(each) for name, each in values.items()}
            if "other" in values:
                row[f"other / this, {unit}"] = ratio(values["other"], values["this"])
        rows.append(row)
    show("Start", rows, [f"medians of {options.repeats}, in turns"])
    save(options.out, {"benchmark": "start", "table": rows, "costs": costs})


if __name__ == "__main__":
    main()
