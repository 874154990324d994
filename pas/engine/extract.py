"""Read last-token activations of several layers, and the unsteered scores, in one pass.

docs/method.md, "Pipeline", steps 2 and 4, and "Flaws of the published protocol", flaw 5: batching
does not change which token is read. An item's question is run once for its full prompt and all of
its statements.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from tqdm.auto import tqdm

from pas.data.prompts import Prompt
from pas.engine.attention import shared_prefix
from pas.engine.decisions import not_finite
from pas.engine.hooked import batches, last_hidden, score_padded
from pas.engine.memory import fitting, halving
from pas.engine.packed import root_of
from pas.engine.prefix import Conditions, Root, prefill, shared_root
from pas.engine.readout import place, read_unsteered, require_finite
from pas.engine.scoring import Query
from pas.engine.selfcheck import covered
from pas.engine.trie import lay_out, packs
from pas.models.loading import LoadedModel
from pas.models.sites import Site, observing


class Activations(NamedTuple):
    """Last-token activations of some prompts.

    Attributes:
        keys: The prompts' 16-byte keys.
        n_tokens: The prompts' lengths in tokens.
        layers: Decoder block indices; -1 is the embedding output.
        values: [n_prompts, n_layers, d_model] in the model's dtype, on the CPU.
    """

    keys: tuple[bytes, ...]
    n_tokens: tuple[int, ...]
    layers: tuple[int, ...]
    values: torch.Tensor


class Reading(NamedTuple):
    """The result of one pass over prompts and questions.

    Attributes:
        activations: Of the prompts, in their order; without prompts, `values` has no rows.
        scores: For each question [n_choices] float32 on the CPU.
    """

    activations: Activations
    scores: list[torch.Tensor]


def capture(
    model: LoadedModel,
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    site: Site = "residual",
    *,
    token_budget: int | None = None,
    engine: str = "auto",
) -> Activations:
    """Read the site's last-token activation of every prompt at every layer.

    The arguments and errors are those of `read`.
    """
    return read(model, prompts, layers, site, token_budget=token_budget, engine=engine).activations


@torch.inference_mode()
def read(
    model: LoadedModel,
    prompts: Sequence[Prompt],
    layers: Sequence[int],
    site: Site = "residual",
    questions: Sequence[Query] = (),
    *,
    length_norm: bool = True,
    token_budget: int | None = None,
    engine: str = "auto",
) -> Reading:
    """Read activations of prompts and the unsteered scores of questions in one pass.

    Args:
        model: The model.
        prompts: The prompts, in any order; the result has the same order.
        layers: Decoder block indices; -1 is the embedding output.
        site: Where in the block.
        questions: From `pas.engine.scoring.prepare`.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        token_budget: Tokens of one forward pass, by default chosen from the free memory. Halved
            if memory runs out.
        engine: "prefix", "hooks", or "auto", which is "prefix" if it covers the model.

    Raises:
        UserError: If the model has no such layer or site, or a number is not finite; the message
            names the layer and the prompt.
        ValueError: If there are no prompts and no questions.
    """
    order = tuple(sorted(set(layers)))
    with observing(model.model, order, site, lambda *_: None):
        pass  # raises if a layer or the site does not exist, before the model runs
    lengths = tuple(len(p.token_ids) for p in prompts)
    tails = [tail.token_ids for question in questions for tail in question.sequences]
    sequences = [p.token_ids for p in prompts] + tails
    if not sequences:
        raise ValueError("there are no prompts and no questions to read")
    longest = max(sequences, key=len)
    budget = token_budget or fitting(model, len(longest)).tokens
    values: torch.Tensor | None = None
    scores = [torch.empty(0)] * len(questions)
    units = len(prompts) + len(questions)
    with model.lock, tqdm(total=units, desc="activations", disable=None, delay=2) as bar:
        packed = engine == "prefix" or (engine == "auto" and covered(model, site, longest))
        request = _Request(prompts, order, site, questions, length_norm)
        for part in (_packed if packed else _padded)(model, request, budget):
            if part.prompts:
                if values is None:
                    values = part.values.new_empty(len(prompts), *part.values.shape[1:])
                values[part.prompts] = part.values
            for index, value in part.scores:
                scores[index] = value
            bar.update(len(part.prompts) + len(part.scores))
    if values is None:
        values = torch.empty(0, len(order), model.info.d_model)
    bad = (~values.isfinite().all(dim=-1)).nonzero()
    if len(bad):
        prompt, layer = bad[0].tolist()
        raise not_finite(
            f"the activations at layer {order[layer]} of the prompt {prompts[prompt].text[:60]!r} "
            f"({len(bad)} such vectors of {values[..., 0].numel()})"
        )
    require_finite(model, questions, scores)
    return Reading(Activations(tuple(p.key for p in prompts), lengths, order, values), scores)


class _Request(NamedTuple):
    """What to read: activations of prompts at layers of a site, and scores of questions."""

    prompts: Sequence[Prompt]
    layers: tuple[int, ...]
    site: Site
    questions: Sequence[Query]
    length_norm: bool


class _Part(NamedTuple):
    """The result of one forward pass: indices of prompts, their values, scores by question."""

    prompts: list[int]
    values: torch.Tensor
    scores: list[tuple[int, torch.Tensor]]


def _packed(
    model: LoadedModel,
    request: _Request,
    budget: int,
) -> Iterator[_Part]:
    prompts, questions = request.prompts, request.questions
    units = [[p.token_ids] for p in prompts]
    units += [[tail.token_ids for tail in question.sequences] for question in questions]
    common = root_of(questions, [p.token_ids for p in prompts])
    with shared_prefix(model):
        root = shared_root(model, common)
        cuts = (cut.units for cut in packs(units, budget, root.n_tokens))

        def run(chosen: list[int]) -> _Part:
            texts = [i for i in chosen if i < len(prompts)]
            queries = [i - len(prompts) for i in chosen if i >= len(prompts)]
            part = request._replace(
                prompts=[prompts[i] for i in texts], questions=[questions[i] for i in queries]
            )
            values, scores = _read_pack(model, part, root)
            return _Part(texts, values, list(zip(queries, scores, strict=True)))

        yield from (part for _, part in halving(cuts, run))


def _read_pack(
    model: LoadedModel,
    request: _Request,
    root: Root,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    prompts, layers, site, questions, length_norm = request
    tails = [tail.token_ids for question in questions for tail in question.sequences]
    pack = lay_out([p.token_ids for p in prompts] + tails, root.n_tokens)
    last = torch.tensor([path[-1] for path in pack.paths[: len(prompts)]], device=model.device)
    seen: dict[int, torch.Tensor] = {}

    def see(layer: int, hidden: torch.Tensor) -> None:
        seen[layer] = hidden[0, last.to(hidden.device)].to(model.device)

    with observing(model.model, layers if prompts else (), site, see):
        done = prefill(model, pack, root, [])
    values = torch.stack([seen[layer] for layer in layers], dim=1).cpu() if prompts else last
    if not questions:
        return values, []
    paths = iter(pack.paths[len(prompts) :])
    placed = [
        place(q, [next(paths) for _ in q.sequences], root.n_tokens, length_norm) for q in questions
    ]
    stems, reads = [stem for stem, _ in placed], [read for _, read in placed]
    return values, [s[0].cpu() for s in read_unsteered(model, done.final, stems, reads)]


def _padded(
    model: LoadedModel,
    request: _Request,
    budget: int,
) -> Iterator[_Part]:
    prompts, layers, site, questions, length_norm = request

    def run(chosen: list[int]) -> torch.Tensor:
        return last_hidden(model, [prompts[i].token_ids for i in chosen], layers, site)

    for chosen, values in halving(batches([len(p.token_ids) for p in prompts], budget), run):
        yield _Part(chosen, values, [])
    parts = [[torch.empty(0)] * len(question.sequences) for question in questions]
    for index, sequence, scores in score_padded(
        model, questions, Conditions(length_norm=length_norm), budget
    ):
        parts[index][sequence] = scores[0]
    whole = [
        rows[0][: len(question.letters)] if question.letters else torch.cat(rows)
        for question, rows in zip(questions, parts, strict=True)
    ]
    yield _Part([], torch.empty(0), list(enumerate(whole)))
