"""How long commands take before and after their own work, in a home where everything is cached."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

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


def taken(command: list[str], env: Mapping[str, str]) -> float:
    """Return the wall seconds of a fresh process."""
    start = perf_counter()
    _ran(command, env)
    return perf_counter() - start


def ready(env: Mapping[str, str]) -> float:
    """Return the seconds from the start of a process to the first line of its flow."""
    from time import time

    start = time()
    return float(_ran(["-c", READY], env).split()[-1]) - start


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
            fresh = {"train, a new home": taken(["-m", "flows.cli", *command], env)}
            print(f"{name}: {fresh}")
            taken(["-m", "flows.cli", "demo", "--json"], env)
        measures = {
            "a flow begins": lambda env: ready(env),
            "pas train, cached": lambda env: taken(["-m", "flows.cli", *command], env),
            "pas demo, cached": lambda env: taken(["-m", "flows.cli", "demo", "--json"], env),
        }
        seconds: dict[str, dict[str, list[float]]] = {m: {n: [] for n in homes} for m in measures}
        for turn in range(options.repeats):
            for measure, run in measures.items():
                for name in list(homes)[:: 1 if turn % 2 else -1]:
                    seconds[measure][name].append(run(homes[name]))
    rows = []
    for measure, found in seconds.items():
        row: dict[str, object] = {"seconds until": measure}
        row |= {name: median(values) for name, values in found.items()}
        if "other" in found:
            row["other / this, of one round"] = ratio(found["other"], found["this"])
        rows.append(row)
    show("Start", rows, [f"medians of {options.repeats}, in turns"])
    save(options.out, {"benchmark": "start", "table": rows, "seconds": seconds})


if __name__ == "__main__":
    main()
