"""Reading a labelled data set of 100,000 rows: time and memory, beside `datasets` on the same file.

    python -m benchmarks.intake --out intake.json

Each reading runs in its own process, in turns. `datasets` reads the rows and nothing else; ours
recognises the mapping, makes items of them and checks each.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.timing import save, show

READERS = ("ours", "datasets")


def write(folder: Path, n: int) -> list[Path]:
    """Write n items as JSON lines and as a table."""
    rows = [
        {
            "question": f"Item {i}: which of these is number {i % 97}, and why do people say so? "
            * 2,
            "choices": [f"choice {i * 7 + k} of the item, with some words" for k in range(4)],
            "answer": "ABCD"[i % 4],
        }
        for i in range(n)
    ]
    lines, table = folder / "items.jsonl", folder / "items.csv"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with table.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["question", "A", "B", "C", "D", "answer"])
        writer.writerows([r["question"], *r["choices"], r["answer"]] for r in rows)
    return [lines, table]


def read(reader: str, file: Path) -> dict[str, float]:
    """Read a file once; return seconds and the process's peak memory."""
    if reader == "ours":
        from pas.intake.items import read_examples as run
    else:
        from datasets import load_dataset

        def run(path: Path) -> Any:
            kind = "csv" if path.suffix == ".csv" else "json"
            cache = tempfile.mkdtemp(dir=path.parent)
            return list(load_dataset(kind, data_files=str(path), cache_dir=cache)["train"])

    start = time.perf_counter()
    n = len(run(file))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"rows": n, "s": seconds, "peak gb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.intake",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read[0], Path(options.read[1]))))
        return
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for file in write(Path(folder), options.rows):
            found: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
            for _ in range(options.repeats):
                for name in READERS:
                    command = [sys.executable, "-m", "benchmarks.intake", "--read", name, str(file)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    found[name].append(json.loads(done.stdout))
            ratios = [a["s"] / b["s"] for a, b in zip(*found.values(), strict=True)]
            lines += [
                {
                    "file": file.suffix,
                    "reader": name,
                    "rows": runs[0]["rows"],
                    "s": median(r["s"] for r in runs),
                    "peak gb": max(r["peak gb"] for r in runs),
                    "of datasets' time": median(ratios) if name == "ours" else 1.0,
                }
                for name, runs in found.items()
            ]
    show("Reading a labelled data set", lines)
    save(options.out, {"benchmark": "intake", "rows": options.rows, "lines": lines})


if __name__ == "__main__":
    main()
