"""Small data sets on disk."""

import csv
import json
from pathlib import Path
from typing import Any

import datasets

from tests.helpers.tiny_models import save_tiny, toy_questions


def write_toy(file: Path, n: int = 60, **changes: object) -> Path:
    """Write toy questions as JSON lines; `changes` replace fields of the row 7."""
    rows = [
        {"id": row["id"], "question": row["question"], "choices": row["choices"],
         "label": row["label"], "topic": f"topic {i % 12}", "half": i % 2}
        for i, row in enumerate(toy_questions(n))
    ]  # fmt: skip
    if changes:
        rows[6] |= changes
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return file


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the path's ending names; lists become JSON text in csv."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        with path.open("w", newline="") as handle:
            separator = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(handle, rows[0], delimiter=separator)
            writer.writeheader()
            for row in rows:
                writer.writerow(
                    {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
                )
    return path


def toy_recipe(folder: Path) -> dict[str, Any]:
    """Return a recipe as a deployment's parameter: toy questions and a tiny model in the folder."""
    data = folder / "toy.jsonl"
    rows = [{k: q[k] for k in ("question", "choices", "label")} for q in toy_questions(60)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "task": "toy",
        "data": str(data),
        "model": str(save_tiny("llama", folder / "tiny")),
        "scoring": "letter",
        "methods": ["pasf", "caa"],
        "layers": "1,2",
        "strengths": "1,4",
    }
