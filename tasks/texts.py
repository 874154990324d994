"""Texts: what a model writes without a vector, with it, and with its opposite."""

import pyarrow as pa

from pas.steering.generate import generate
from pas.steering.vector import SteeringVector
from storage.lake.stages import stage
from storage.lake.verification import intact
from tasks import resources


def sample_texts(
    vector: SteeringVector, prompts: list[str], max_new_tokens: int
) -> list[dict[str, str]]:
    """Continue prompts greedily up to the first line break; texts are kept in the lake.

    Args:
        vector: The vector, used at its own strength.
        prompts: Texts to continue.
        max_new_tokens: Upper limit of each continuation.

    Returns:
        For each prompt `prompt`, `unsteered`, `steered` and `opposite` (the negative strength).
    """
    lake = resources.lake()
    where = stage(
        lake,
        "texts",
        model=resources.model_info(vector.model).fingerprint,
        vector=vector.digest,
        prompts=prompts,
        max_new_tokens=max_new_tokens,
    )
    if not intact(lake, where.address):
        model = resources.model(vector.model)
        strengths = {"unsteered": 0.0, "steered": vector.strength, "opposite": -vector.strength}
        rows = [
            {"prompt": prompt}
            | {
                kind: _first_line(
                    generate(
                        model, prompt, vector, strength=strength, max_new_tokens=max_new_tokens
                    )
                )
                for kind, strength in strengths.items()
            }
            for prompt in prompts
        ]
        lake.write_table(where.address, pa.Table.from_pylist(rows), where.metadata)
    texts: list[dict[str, str]] = lake.read_table(where.address).to_pylist()
    return texts


def _first_line(text: str) -> str:
    """Return the first line: a small model goes on with made-up questions."""
    return (text.strip().splitlines() or [""])[0]
