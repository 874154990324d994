"""Small data sets on disk, for tests of flows and the command line."""

import json
from pathlib import Path

from tests.helpers.tiny_models import toy_questions


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
