"""Scores of some questions in one pack: prefill once, then walk every configuration."""

import logging
from collections.abc import Iterator, Sequence

import torch

from pas.engine.prefix import Conditions, Prefill, Root, Stem, prefill, walk
from pas.engine.readout import Reads, place, read_scores, read_unsteered
from pas.engine.scoring import Query
from pas.engine.trie import Tokens, common_root, lay_out
from pas.models.loading import LoadedModel

log = logging.getLogger("pas")
SHORTEST_ROOT = 64  # tokens; a shorter one is as cheap inside the packs
_PADDING = 1.1  # tails share a walk while the longest is at most so much longer


def root_of(questions: Sequence[Query], others: Sequence[Tokens] = ()) -> Tokens:
    """Return the leading tokens that everything shares, such as an ICL prefix; () if few.

    They end before the first steered token of every question and the last one of the others.
    """
    tails = [tail for question in questions for tail in question.sequences]
    ends = [len(t.token_ids) - t.n_steered for t in tails] + [len(s) - 1 for s in others]
    sequences = [t.token_ids for t in tails] + list(others)
    length = min(common_root(sequences), *ends) if len(sequences) > 1 else 0
    return sequences[0][:length] if length >= SHORTEST_ROOT else ()


def score_pack(
    model: LoadedModel,
    questions: Sequence[Query],
    conditions: Conditions,
    root: Root,
    row_budget: int,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Score some questions in one pack.

    Args:
        model: Inside `shared_prefix`.
        questions: All by letter or all by choice.
        conditions: Their rows sorted by layer.
        root: From `shared_root`.
        row_budget: Items x configurations x steered tokens of one walk.

    Yields:
        Each question's index and scores [1 + n_rows, n_choices] float32 on the CPU.
    """
    sequences = [tail.token_ids for question in questions for tail in question.sequences]
    pack = lay_out(sequences, root.n_tokens)
    paths = iter(pack.paths)
    placed = [
        place(
            q,
            [next(paths) for _ in q.sequences],
            root.n_tokens,
            conditions.length_norm,
            conditions.normalise,
        )
        for q in questions
    ]
    stems, reads = [stem for stem, _ in placed], [read for _, read in placed]
    done = prefill(model, pack, root, [stem.tail for stem in stems])
    unsteered = read_unsteered(model, done.final, stems, reads)
    if not conditions.rows:
        yield from enumerate(scores.cpu() for scores in unsteered)
        return
    for chosen in _walks(stems, len(conditions.rows), row_budget):
        chosen_stems, chosen_reads = [stems[i] for i in chosen], [reads[i] for i in chosen]
        steered = _score_rows(model, done, chosen_stems, chosen_reads, conditions, row_budget)
        found = [torch.cat([unsteered[at], s]) for at, s in zip(chosen, steered, strict=True)]
        # One copy off the device for all items of the walk.
        flat = torch.cat([scores.flatten() for scores in found]).cpu()
        parts = torch.split(flat, [scores.numel() for scores in found])
        for at, part, scores in zip(chosen, parts, found, strict=True):
            yield at, part.view(scores.shape)


def _walks(stems: Sequence[Stem], n_rows: int, row_budget: int) -> Iterator[list[int]]:
    """Cut items into walks, those with tails and prefixes of about one length together."""
    walked: list[int] = []
    for index in sorted(
        range(len(stems)), key=lambda i: (len(stems[i].tail), len(stems[i].prefix))
    ):
        tail = len(stems[index].tail)
        if walked and (
            tail > _PADDING * len(stems[walked[0]].tail)
            or tail * n_rows * (len(walked) + 1) > row_budget
        ):
            yield walked
            walked = []
        walked.append(index)
    if walked:
        yield walked


def _score_rows(
    model: LoadedModel,
    done: Prefill,
    stems: Sequence[Stem],
    reads: Sequence[Reads],
    conditions: Conditions,
    row_budget: int,
) -> list[torch.Tensor]:
    """Return for each item [n_rows, n_choices], from walks within the budget and the memory."""
    rows, tail = conditions.rows, max(len(stem.tail) for stem in stems)
    found: list[list[torch.Tensor]] = [[] for _ in stems]
    start = 0
    while start < len(rows):
        step = max(1, row_budget // (len(stems) * tail))
        try:
            hidden = walk(model, done, stems, rows[start : start + step], conditions.site)
            scores = read_scores(model, hidden, reads)
        except torch.OutOfMemoryError:
            if step == 1:
                raise
            row_budget = min(row_budget, step * len(stems) * tail) // 2
            log.info("out of memory: the row budget is now %d", row_budget)
            continue
        for parts, part in zip(found, scores, strict=True):
            parts.append(part)
        start += step
    return [torch.cat(parts) for parts in found]
