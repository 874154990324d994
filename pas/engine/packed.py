"""Score the questions of one pack: one prefill, then a walk of every configuration."""

import logging
from collections.abc import Iterator, Sequence

import torch

from pas.engine.prefix import Conditions, Prefill, Root, Stem, prefill, walk
from pas.engine.readout import Reads, place, read_scores, read_unsteered
from pas.engine.scoring import Query
from pas.engine.trie import Tokens, common_root, lay_out
from pas.models.loading import LoadedModel

log = logging.getLogger("pas")
SHORTEST_ROOT = 64  # tokens; running a shorter root separately saves nothing
_PADDING = 1.1  # largest ratio of the longest to the shortest tail in one walk


def root_of(questions: Sequence[Query], others: Sequence[Tokens] = ()) -> Tokens:
    """Return the leading tokens that all sequences share, such as a few-shot prefix.

    They end before the first steered token of every question and before the last token of every
    other sequence.

    Args:
        questions: From `pas.engine.scoring.prepare`.
        others: Token ids of further sequences.

    Returns:
        The tokens; () if there are fewer than `SHORTEST_ROOT`.
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
    """Score the questions of one pack.

    Args:
        model: The model, inside `shared_prefix`.
        questions: All scored by letter or all by choice.
        conditions: The configurations, sorted by layer, and how to score.
        root: From `shared_root`.
        row_budget: Items x configurations x steered tokens of one walk.

    Yields:
        Each question's index and scores [1 + n_rows, n_choices] float32 on the CPU; row 0 is
        unsteered.
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
        tables = [torch.cat([unsteered[i], s]) for i, s in zip(chosen, steered, strict=True)]
        # One copy from the device for all items of the walk.
        flat = torch.cat([scores.flatten() for scores in tables]).cpu()
        parts = torch.split(flat, [scores.numel() for scores in tables])
        for index, part, scores in zip(chosen, parts, tables, strict=True):
            yield index, part.view(scores.shape)


def _walks(stems: Sequence[Stem], n_rows: int, row_budget: int) -> Iterator[list[int]]:
    """Cut items into walks. Items of a walk have tails and prefixes of similar length."""
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
    """Return [n_rows, n_choices] for each item. The budget is halved if memory runs out."""
    rows, tail = conditions.rows, max(len(stem.tail) for stem in stems)
    by_item: list[list[torch.Tensor]] = [[] for _ in stems]
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
            log.info("Out of memory: the row budget is now %d", row_budget)
            continue
        for parts, part in zip(by_item, scores, strict=True):
            parts.append(part)
        start += step
    return [torch.cat(parts) for parts in by_item]
