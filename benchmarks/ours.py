"""`pas` with the interface of the other contenders: from texts to scores and vectors."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from benchmarks.contenders import Vectors, means, stacked
from benchmarks.material import METHODS, RULE, LetterPrompt, asked, contrasts
from pas.data.examples import Example
from pas.data.prompts import encode
from pas.engine.extract import read
from pas.engine.prefix import Steering, forget_roots
from pas.engine.scoring import prepare
from pas.engine.sweep import score_rows
from pas.methods.contrast import possible_texts
from pas.models.loading import LoadedModel
from storage.catalogue.estimate import WEIGHTS, estimate
from storage.lake.files import Lake
from storage.lake.shards import write_shard


def sweep(
    model: LoadedModel, items: Sequence[LetterPrompt], rows: Sequence[Steering]
) -> np.ndarray:
    """Return the scores of every configuration, without the unsteered ones."""
    forget_roots()  # a round must not reuse the few-shot prefix of the previous one
    questions = [prepare(model.info, i.text, i.choices, 0, RULE) for i in items]
    return stacked([scores[1:].numpy() for scores in score_rows(model, questions, rows)])


def extraction(
    model: LoadedModel, items: Sequence[Example], reads: Sequence[int], lake: Lake | None = None
) -> tuple[np.ndarray, Vectors]:
    """Return answers and vectors from one pass over all texts that a method may need.

    With a lake, this is what the pipeline does: activations are written to Parquet and means are
    computed by DuckDB.
    """
    forget_roots()
    texts = dict.fromkeys(
        text for item in items for text in possible_texts(METHODS, item, RULE.kind)
    )
    prompts = [encode(model.info, text) for text in texts]
    questions = [prepare(model.info, i.text, i.choices, 0, RULE) for i in asked(items)]
    captured, scores = read(model, prompts, reads, questions=questions)
    found = stacked([value[None].numpy() for value in scores])
    sets = contrasts(items, found[:, 0].argmax(axis=-1))
    if lake is None:
        place = {text: at for at, text in enumerate(texts)}
        return found, means(captured.values.numpy(), captured.layers, place, sets)
    keys = dict(zip(texts, captured.keys, strict=True))
    write_shard(lake, model.fingerprint, "residual", captured, model.spec.as_dict())
    rows = [
        {"method": method, "prompt_key": keys[text], "weight": sign / len(side)}
        for method, chosen in sets.items()
        for sign, side in zip((1, -1), chosen, strict=True)
        for text in side
    ]
    table = estimate(
        lake, model.fingerprint, "residual", pa.Table.from_pylist(rows, WEIGHTS), reads
    )
    return found, {
        (row["method"], row["layer"]): np.asarray(row["direction"], np.float64)
        for row in table.to_pylist()
    }
