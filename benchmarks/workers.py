"""How much faster workers are that share an extraction and a sweep, and what sharing costs.

The workers are runs of the flow `share` on a Prefect server and a process worker of their own, each
with one thread. What is timed begins when the work is put before workers that have loaded the model
and ends with the last unit: a worker's start is not in it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, time
from typing import Any, TypeVar

import httpx
import pyarrow as pa

from benchmarks.material import arguments, data_file
from benchmarks.timing import ratio, save, show
from tests.helpers.places import ROOT
from tests.helpers.servers import Team, filtered, finished, team, wait_for

T = TypeVar("T")
PROCESSES = (1, 2, 4)
UNITS = 1000
_TINY = pa.table({"n": [1]})


def prepare(step: str, recipe: dict[str, Any]) -> None:
    """Write the work of a step to a folder that no worker looks at, and print where.

    Into another folder, `training`, goes work without units: workers load the model for it.
    """
    from prefect import flow

    from pas.recipe import Recipe
    from tasks.estimate import estimate
    from tasks.extract import extract_missing
    from tasks.load import load
    from tasks.predict import predict
    from tasks.shares import Work, new_folder, write_work
    from tasks.sweep import share_sweep

    @flow(name="prepare")
    def prepared() -> list[Work]:
        found, work = Recipe.read(recipe), list[Work]()
        split = load(found)
        if step == "extract":
            extract_missing(found, split, share=work.append)
        else:
            vectors = estimate(found, split, predict(found, split))
            share_sweep(found, split, vectors, work.append)
        return work

    [work] = prepared()
    folder = new_folder()
    write_work(folder, work)
    training = new_folder()
    write_work(f"{training}/opening", work._replace(units=()))
    print(
        json.dumps(
            {"folder": folder, "training": training, "files": [u.address for u in work.units]}
        )
    )


def coordinate(address: str) -> None:
    """Fill tiny units, and print the seconds and how many it were."""
    from tasks import resources
    from tasks.shares import fill, read_work

    lake, work = resources.lake(), read_work(address)
    start = perf_counter()
    filled = fill(
        address, work.units, lambda unit: lake.write_table(unit.addresses[0], _TINY), finish=False
    )
    print(json.dumps({"seconds": perf_counter() - start, "filled": filled}))


def alone(address: str) -> None:
    """Write the same files in a loop, without claims."""
    from tasks import resources
    from tasks.shares import read_work

    lake, work = resources.lake(), read_work(address)
    start = perf_counter()
    for unit in work.units:
        lake.write_table(unit.addresses[0], _TINY)
    print(json.dumps({"seconds": perf_counter() - start, "filled": len(work.units)}))


def tiny(address: str) -> None:
    """Write work of many tiny units, and print its address."""
    from pas.recipe import Recipe
    from tasks.shares import Unit, Work, new_folder, write_work

    units = tuple(Unit((f"stages/tiny/{address}-{i}.parquet",), (), ()) for i in range(UNITS))
    print(json.dumps(write_work(new_folder(), Work("extract", Recipe(task="demo"), "", "", units))))


_MODES = {"coordinate": coordinate, "alone": alone, "tiny": tiny}


def _call(environment: dict[str, str], *command: str) -> Any:
    return json.loads(_wait(_start(environment, *command)))


def _start(environment: dict[str, str], *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.workers", *command],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _wait(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return output.splitlines()[-1]


def coordination(environment: dict[str, str]) -> list[dict[str, Any]]:
    """Return the milliseconds a unit, alone and by processes that share."""
    bare = _call(environment, "alone", _call(environment, "tiny", "alone"))
    rows = [{"processes": "a loop", "ms a unit": 1000 * bare["seconds"] / UNITS}]
    for n in PROCESSES:
        address = _call(environment, "tiny", f"shared-{n}")
        running = [_start(environment, "coordinate", address) for _ in range(n)]
        done = [json.loads(_wait(process)) for process in running]
        seconds, filled = (sum(one[k] for one in done) for k in ("seconds", "filled"))
        rows.append(
            {
                "processes": str(n),
                "ms a unit": 1000 * seconds / filled,
                "filled twice": filled - UNITS,
            }
        )
    return rows


def shared(installation: Team, folder: Path, n: int, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds that `n` workers take for the steps of a training in a fresh lake."""
    lake = folder / f"lake-{n}"
    environment = installation.environment | {"PAS_LAKE": str(lake)}
    [deployed] = filtered(installation.api, "deployments")
    seconds: dict[str, Any] = {"workers": n}
    work = {"extract": _call(environment, "extract", json.dumps(recipe))}
    training = work["extract"]["training"]
    asked = {
        "parameters": {"training": training},
        "job_variables": {"env": {"PAS_LAKE": str(lake), "OMP_NUM_THREADS": "1"}},
    }
    address = f"/deployments/{deployed['id']}/create_flow_run"

    def begun() -> Any:
        return installation.api.post(address, json=asked).raise_for_status().json()["id"]

    runs = [wait_for("a run", _unless_busy(begun)) for _ in range(n)]
    wait_for("the workers", _unless_busy(lambda: _ready(installation, runs) == n))
    for step in ("extract", "sweep"):
        # The sweep's work needs what was extracted.
        given = work.get(step) or _call(environment, step, json.dumps(recipe))
        files = [lake / file for file in given["files"]]
        (lake / given["folder"] / step).rename(lake / training / step)
        began = time()
        wait_for("the units", lambda files=files: all(file.exists() for file in files))
        seconds[step] = max(file.stat().st_mtime for file in files) - began
        seconds[f"{step} units"] = len(files)
    shutil.rmtree(lake / training)  # no more help is needed
    for run in runs:
        wait_for("its end", _unless_busy(partial(finished, installation.api, run)))
    return seconds


def _unless_busy(ask: Callable[[], T]) -> Callable[[], T | None]:
    """Have a question answered with None while the server's SQLite is locked."""

    def asked() -> T | None:
        try:
            return ask()
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                raise
        return None

    return asked


def _ready(installation: Team, runs: Sequence[str]) -> int:
    """Return how many workers have loaded the model, for the work without units."""
    logs = filtered(installation.api, "logs", logs={"flow_run_id": {"any_": list(runs)}})
    return sum("0 of 0 units" in log["message"] for log in logs)


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(
        "workers",
        __doc__ or "",
        "python -m benchmarks.workers --items 480 --repeats 2 --out workers.json",
    )
    parser.add_argument("--items", type=int, default=480, help="items of the training (480)")
    options = parser.parse_args(given)
    recipe = {
        "task": "bbq_age",
        "data": str(data_file().resolve()),
        "max_items": options.items,
        "prompt": "plain",
        "strengths": (1.0, 4.0),
    }
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="pas-workers-") as scratch:
        folder = Path(scratch)
        with team(folder) as installation:
            del installation.environment["PAS_CACHE_DIR"]  # the converted model
            installation.environment |= {
                "PAS_SHARD_TOKENS": "1024",
                "OMP_NUM_THREADS": "1",
                "PREFECT_LOGGING_EXTRA_LOGGERS": "pas",
            }
            costs = coordination(installation.environment | {"PAS_LAKE": str(folder / "tiny")})
            show(f"coordination of {UNITS} tiny units", costs)
            installation.prefect("work-pool", "create", "gpu", "--type", "process")
            installation.prefect("--no-prompt", "deploy", "--name", "share")
            installation.start("worker", "worker", "start", "--pool", "gpu")
            for _ in range(options.repeats):
                rows += [
                    shared(installation, folder / str(len(rows)), n, recipe) for n in PROCESSES
                ]
    table = [_summary(n, rows) for n in PROCESSES]
    notes = [f"medians of {options.repeats}; ratios are to one worker in the same round"]
    show(f"{options.items} items of BBQ Age, one thread a worker", table, notes)
    save(options.out, {"coordination": costs, "table": table, "workers": rows})


def _summary(n: int, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of `n` workers, and how much faster than one worker they are."""
    one, these = ([r for r in rows if r["workers"] == k] for k in (1, n))
    row: dict[str, Any] = {"workers": n}
    for step in ("extract", "sweep"):
        times = [[r[step] for r in each] for each in (one, these)]
        row |= {f"{step}, s": median(times[1]), f"{step}, one / these": ratio(*times)}
        row[f"{step} units"] = these[0][f"{step} units"]
    return row


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in _MODES:
        _MODES[sys.argv[1]](sys.argv[2])
    elif sys.argv[1:2] and sys.argv[1] in ("extract", "sweep"):
        prepare(sys.argv[1], json.loads(sys.argv[2]))
    else:
        main()
