"""A lake, a registry and a queue as large as they are after a year: time and memory of each look.

The lake holds random activations of 100,000 prompts in 10,000 small shards, and as many answers,
before and after `pas cache compact`; the registry 1,000 versions; Prefect's queue 500 runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

from benchmarks.material import arguments
from benchmarks.overhead import environment
from benchmarks.random_shards import FINGERPRINT, SITE, prompt_key
from benchmarks.timing import save, show
from tests.helpers.servers import Team, team

LAYERS, WIDTH, RULE = (1, 2), 64, "letter-both"
MODELS = 10
# What a training asks of the lake before it runs the model.
PLAN = """
import json, sys
from benchmarks.load import plan
print(json.dumps(plan(*map(int, sys.argv[1:]))))
"""


# A process starts with the peak of the one that starts it, so a small one does.
MEASURED = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stderr=subprocess.STDOUT)
used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, time.perf_counter() - start, used]))
"""


class Cost(NamedTuple):
    """What a process took: wall seconds, and its highest resident memory in MB."""

    seconds: float
    megabytes: float


def plan(prompts: int, wanted: int) -> int:
    """Look for prompts in the lake, of which the last tenth is missing; return how many are."""
    from storage.catalogue.views import missing
    from storage.lake.answers import read_answers
    from tasks import resources

    first = prompts - wanted * 9 // 10
    keys = [prompt_key(number) for number in range(first, first + wanted)]
    absent = missing(resources.lake(), FINGERPRINT, SITE, keys, LAYERS)
    answered = read_answers(resources.lake(), FINGERPRINT, RULE, keys)
    if len(absent) != wanted - len(answered):
        raise SystemExit(f"{len(absent)} prompts are missing, and {len(answered)} are answered")
    return len(absent)


def fill_lake(folder: Path, prompts: int, shards: int) -> None:
    import torch

    from pas.engine.extract import Activations
    from storage.lake.answers import answers_address, write_answers
    from storage.lake.files import open_lake
    from storage.lake.shards import write_shard

    lake, size = open_lake(str(folder)), prompts // shards
    block = torch.randn(size, len(LAYERS), WIDTH, generator=torch.Generator().manual_seed(0))

    def write(start: int) -> None:
        keys = tuple(prompt_key(number) for number in range(start, start + size))
        given = Activations(keys, (50,) * size, LAYERS, block * (1 + start % 97 / 100))
        write_shard(lake, FINGERPRINT, SITE, given, {"id": "random"})
        scores = {key: [0.0, -1.0] for key in keys}
        write_answers(lake, answers_address(lake, FINGERPRINT, RULE, [*keys]), scores)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(0, prompts, size)))
    for file in folder.rglob("*.parquet"):
        os.utime(file, (0, 0))  # as if nobody had looked for them for a while


def fill_registry(versions: int) -> None:
    """Register versions without artifacts, in this process' home."""
    from storage.registry.client import client, create_once
    from storage.registry.runs import open_run
    from storage.settings import settings

    registry = settings().open_registry()
    store = client(registry)
    tags = {"verdict": "real", "baseline_accuracy": "0.5", "steered_accuracy": "0.75"}
    for number in range(versions):
        name = f"pas-model-task{number % MODELS}"
        create_once(lambda name=name: store.create_registered_model(name))  # type: ignore[misc]
        with open_run(registry, experiment="pas", run_name=name) as run:
            made = store.create_model_version(name, "s3://nowhere/at/all", run_id=run, tags=tags)
        store.set_registered_model_alias(name, "candidate", made.version)
        if number == versions // 2:
            store.set_registered_model_alias(name, "champion", made.version)


def fill_queue(queue: Team, runs: int) -> None:
    queue.prefect("--no-prompt", "work-pool", "create", "cpu", "--type", "process")
    flow = queue.api.post("/flows/", json={"name": "train"}).raise_for_status().json()["id"]
    deployment = {"name": "train", "flow_id": flow, "work_pool_name": "cpu"}
    made = queue.api.post("/deployments/", json=deployment).raise_for_status().json()["id"]
    address = f"/deployments/{made}/create_flow_run"
    for _ in range(runs):
        # Its database is a file, which is locked now and then.
        while (answer := queue.api.post(address, json={})).status_code == 503:
            sleep(0.1)
        answer.raise_for_status()


def taken(command: Sequence[str], env: Mapping[str, str], codes: Sequence[int] = (0,)) -> Cost:
    """Return what a fresh process takes."""
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-S", "-c", MEASURED, sys.executable, *command],
        env=env,
        capture_output=True,
        text=True,
    )
    *said, told = done.stdout.splitlines()
    code, seconds, kilobytes = json.loads(told)
    if code not in codes:
        raise SystemExit("\n".join([f"{command} ended with {code}:", *said[-40:]]))
    return Cost(seconds, kilobytes / 1024)


def parsed() -> argparse.Namespace:
    parser = arguments("load", __doc__ or "", "python -m benchmarks.load --out load.json")
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--wanted", type=int, default=5_000, help="prompts of a training")
    parser.add_argument("--versions", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--fill-registry", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.fill_registry:
        fill_registry(options.fill_registry)
        return
    rows = list[dict[str, Any]]()

    def measure(what: str, env: Mapping[str, str], *command: str, **codes: Any) -> None:
        rows.append({"look": what} | taken(command, env, **codes)._asdict())
        print(json.dumps(rows[-1]), file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="pas-load-") as scratch:
        folder = Path(scratch)
        env = environment(folder, "home") | {"PYTHONPATH": str(Path.cwd())}
        fill_lake(folder / "home" / "lake", options.prompts, options.shards)
        pas = ("-m", "flows.cli")
        wanted = (str(options.prompts), str(options.wanted))
        for when in (f"{options.shards:,} shards", "compacted"):
            measure(f"plan a training, {when}", env, "-c", PLAN, *wanted)
            measure(f"pas cache stats, {when}", env, *pas, "cache", "stats")
            measure(f"pas cache verify, {when}", env, *pas, "cache", "verify")
            measure(f"pas cache gc, {when}", env, *pas, "cache", "gc")
            if when != "compacted":
                measure("pas cache compact", env, *pas, "cache", "compact")
        command = ("-m", "benchmarks.load", "--fill-registry", str(options.versions))
        taken(command, env)
        measure(f"pas vectors, {options.versions:,} versions", env, *pas, "vectors")
        with team(folder) as queue:
            fill_queue(queue, options.runs)
            env |= {"PREFECT_API_URL": queue.environment["PREFECT_API_URL"]}
            for what in ("status", "doctor"):
                measure(f"pas {what}, {options.runs:,} runs queued", env, *pas, what, codes=(0, 1))
    show("Load", rows, ["a fresh process each"])
    save(options.out, {"benchmark": "load", "table": rows})


if __name__ == "__main__":
    main()
