"""Seconds of a whole `pas train`, without installation, and of the published loop."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks import contenders
from benchmarks.material import METHODS, Material, arguments, asked, contrasts, data_file, material
from benchmarks.timing import save, show
from pas.data.prompts import full_prompt, statement
from pas.engine.prefix import Steering
from tests.helpers import oracle

CONFIGURATIONS = 420


def command(file: Path, items: int, seed: int) -> list[str]:
    """The training as a user starts it: the paper's protocol, methods and grid."""
    return [
        sys.executable,
        "-m",
        "flows.cli",
        "train",
        "--task",
        "bbq_age",
        "--data",
        str(file),
        "--protocol",
        "paper",
        "--methods",
        ",".join(METHODS),
        "--max-items",
        str(items),
        "--seed",
        str(seed),
        "--json",
    ]


def ours(file: Path, items: int, seed: int, home: Path) -> dict[str, Any]:
    """Run the training in a process of its own; return the seconds from start to end."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PAS_", "PREFECT_"))}
    start = perf_counter()
    done = subprocess.run(
        command(file, items, seed),
        env=inherited | {"PAS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return {"wall": perf_counter() - start, **json.loads(done.stdout)}


def per_pass(at: Material, sample: int) -> dict[str, float]:
    """Return median seconds of a pass of the published loop: answering, reading, steering."""
    items = asked(at.val[:sample])
    said = [statement(e, 0) for e in at.val[:sample]]
    row = Steering(at.layers[0], torch.zeros(at.model.info.d_model))
    read = at.reads[0]
    network, tokenizer = at.model.model, at.model.tokenizer

    def each(texts: Sequence[Any], run: Any) -> float:
        taken = []
        for text in texts:
            start = perf_counter()
            run(text)
            taken.append(perf_counter() - start)
        return float(np.mean(taken))

    def reading(text: str) -> Any:
        ids = oracle.token_ids_of(tokenizer, text)
        return oracle.read_activation(network, ids, read)

    whole = [full_prompt(e, "letter") for e in at.val[:sample]]
    contenders.reference_predict(at.model, items[:2])
    return {
        "answer": each(items, lambda i: contenders.reference_predict(at.model, [i])),
        "read a prompt": each(whole, reading),
        "read a statement": each(said, reading),
        "steer": each(items, lambda i: contenders.reference_sweep(at.model, [i], [row])),
    }


def passes(at: Material, items: int) -> dict[str, int]:
    """Return how many passes the published loop needs for the same training."""
    train, held = int(0.6 * items), items // 5
    some = at.train[:60]
    picks = contenders.hooked_predict(at.model, asked(some), 16)[:, 0].argmax(axis=-1)
    sets = contrasts(some, picks)
    statements = sum(len(side) for m in METHODS if m != "pasf" for side in sets[m])
    return {
        "answer": train + 2 * held,  # and the unsteered model on validation and test
        "read a prompt": len(at.reads) * train,
        "read a statement": round(len(at.reads) * train * statements / len(some)),
        "steer": CONFIGURATIONS * held + held,
    }


def main() -> None:
    parser = arguments(
        "train",
        __doc__ or "",
        "python -m benchmarks.train --items 320 --repeats 3 --out train.json",
    )
    parser.add_argument("--items", type=int, default=320, help="cut 60/20/20 (320)")
    parser.add_argument(
        "--sample", type=int, default=20, help="items that the published loop's passes are timed on"
    )
    options = parser.parse_args()
    at = material()
    counts = passes(at, options.items)
    rounds = []
    for _ in range(options.repeats):
        seconds = per_pass(at, options.sample)
        with tempfile.TemporaryDirectory() as home:
            found = ours(data_file(), options.items, 0, Path(home))
            again = ours(data_file(), options.items, 0, Path(home))
        reference = sum(counts[part] * seconds[part] for part in counts)
        rounds.append({"ours": found, "again": again, "per_pass": seconds, "reference": reference})

    wall = [r["ours"]["wall"] for r in rounds]
    steps = {
        step: median(r["ours"]["seconds"][step] for r in rounds)
        for step in rounds[0]["ours"]["seconds"]
    }
    lines = [
        {"contender": "ours, from start to end", "s": median(wall), "times ours": 1.0},
        {
            "contender": "reference, estimated",
            "s": median(r["reference"] for r in rounds),
            "times ours": median(r["reference"] / w for r, w in zip(rounds, wall, strict=True)),
        },
        {
            "contender": "ours again, all cached",
            "s": median(r["again"]["wall"] for r in rounds),
            "times ours": median(r["again"]["wall"] / w for r, w in zip(rounds, wall, strict=True)),
        },
        *({"contender": f"  of ours: {step}", "s": s} for step, s in steps.items()),
    ]
    notes = [
        f"{options.items} items of BBQ Age cut 60/20/20, paper protocol, {len(METHODS)} methods, "
        f"{CONFIGURATIONS} configurations; medians of {options.repeats} rounds, ratios of the same "
        "round. Ours is the command line with imports, Prefect, MLflow, evaluation with ten random "
        "directions and re-shuffled choices, which the reference has not.",
        f"Reference: passes {counts}, each kind timed on {options.sample} items in the same round; "
        "loading, statistics and storage are not charged to it.",
    ]
    show("A whole training", lines, notes)
    save(
        options.out,
        {
            "benchmark": "train",
            "options": {"items": options.items, "repeats": options.repeats},
            "table": lines,
            "rounds": rounds,
            "passes": counts,
            "notes": notes,
        },
    )


if __name__ == "__main__":
    main()
