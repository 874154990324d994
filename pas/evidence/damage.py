"""Damage: what steering does to text that has nothing to do with the task.

docs/method.md, "Damage". Damage is the divergence KL(unsteered || steered) of the next-token
distribution on neutral text, in nats per token. `pas.evidence.checks` has its limit.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pas.data.prompts import encode
from pas.engine.hooked import batches
from pas.engine.memory import fitting, halving
from pas.engine.prefix import Steering
from pas.engine.readout import LOGIT_FLOATS
from pas.errors import UserError
from pas.methods.grid import Configuration, Directions
from pas.models.loading import LoadedModel
from pas.models.padding import Batch, pad
from pas.models.sites import Site, decoder_blocks, hidden_of, site_module
from pas.progress import counted
from pas.steering.apply import steered

# One paragraph per block: facts, recipes, directions, dialogue, code. Written for this project.
_TEXTS = resources.files("pas.evidence").joinpath("neutral.txt")
_PROMPT = 2  # leading tokens that count as the prompt of a text
_COPIES = 4  # arrays of the size of the logits that are in memory together


class Damage(NamedTuple):
    """The damage of one configuration: means over the predicted tokens, in nats per token.

    The values are NaN if the steered model overflows.

    Attributes:
        kl: KL divergence of the steered from the unsteered next-token distribution.
        nll_before: Negative log-likelihood of the text, unsteered. Its exponential is the
            perplexity.
        nll_after: The same, steered.
        n_tokens: Number of predicted tokens.
    """

    kl: float
    nll_before: float
    nll_after: float
    n_tokens: int


def neutral_texts() -> tuple[str, ...]:
    """Return forty short paragraphs of plain English and some code, about 25 tokens each."""
    return tuple(_TEXTS.read_text(encoding="utf-8").strip().split("\n\n"))


def neutral_damage(
    model: LoadedModel,
    directions: Directions,
    configurations: Sequence[Configuration],
    site: Site,
    *,
    token_budget: int | None = None,
) -> dict[Configuration, Damage]:
    """Measure what configurations of a sweep do to the neutral texts; strength 0 gives 0.

    Args:
        model: The model.
        directions: The directions of the sweep, [d_model] float32 each.
        configurations: Those to measure.
        site: Where the directions are added.
        token_budget: See `damage`.

    Raises:
        UserError: If the model has no such layer or site.
    """
    rows = [Steering(at.layer, torch.from_numpy(directions.delta(at))) for at in configurations]
    measured = damage(model, neutral_texts(), rows, site, token_budget=token_budget)
    return dict(zip(configurations, measured, strict=True))


class Divergence(NamedTuple):
    """The damage of one configuration, and where it comes from.

    Attributes:
        damage: The means.
        tokens: [n_tokens] float32: the KL divergence at each predicted token, in no certain order.
    """

    damage: Damage
    tokens: np.ndarray[Any, np.dtype[np.float32]]


def damage(
    model: LoadedModel,
    texts: Sequence[str],
    rows: Sequence[Steering],
    site: Site = "residual",
    *,
    token_budget: int | None = None,
) -> list[Damage]:
    """Return the means of `divergences`, whose arguments and errors it has."""
    return [d.damage for d in divergences(model, texts, rows, site, token_budget=token_budget)]


@torch.inference_mode()
def divergences(
    model: LoadedModel,
    texts: Sequence[str],
    rows: Sequence[Steering],
    site: Site = "residual",
    *,
    token_budget: int | None = None,
) -> list[Divergence]:
    """Measure what each configuration does to the model's next-token distribution on texts.

    Steering acts as it would during generation after a prompt of two tokens: on the second token
    and on every later one (docs/method.md, "Damage"). The first token is never steered. It is the
    BOS token or takes its place, and models concentrate attention on it. The distributions that are
    compared predict the third to the last token.

    Every pass has the shape of the unsteered one, so rounding cancels and a delta of 0 gives
    exactly 0. In bfloat16, a KL below about 1e-3 is rounding.

    Args:
        model: The model.
        texts: Texts of at least three tokens each, such as `neutral_texts()`.
        rows: The configurations, in any order; deltas [d_model] are direction times strength.
        site: Where the deltas are added.
        token_budget: Padded tokens of one forward pass, by default chosen from the free memory.
            Halved if memory runs out.

    Returns:
        The divergence of each row, in the same order.

    Raises:
        UserError: If there are no texts, a text has fewer than three tokens or exceeds the context
            window, or the model has no such layer or site.
    """
    for row in rows:
        site_module(model.model, row.layer, site)
    sequences = [_tokens(model, text) for text in texts]
    if not sequences:
        raise UserError("there are no texts to measure damage on; give some, or neutral_texts()")
    if not rows:
        return []
    lengths = [len(tokens) for tokens in sequences]
    # The hidden states of all configurations are in memory until they are compared.
    largest = LOGIT_FLOATS // ((1 + len(rows)) * model.info.d_model)
    budget = min(token_budget or fitting(model, max(lengths)).tokens, largest)
    totals = torch.zeros(len(rows), 3, dtype=torch.float64)
    tokens: list[torch.Tensor] = []
    with model.lock, counted(len(texts), "neutral texts read") as advance:
        starts = _starts(model, min(sequences, key=len), {row.layer for row in rows})

        def run(chosen: list[int]) -> torch.Tensor:
            return _sums(model, [sequences[i] for i in chosen], rows, site, starts).cpu()

        for chosen, sums in halving(batches(lengths, budget), run):
            totals += sums[:, :3]
            tokens.append(sums[:, 3:].float())
            advance(len(chosen))
    n_tokens = sum(lengths) - _PROMPT * len(lengths)
    means = (totals / n_tokens).tolist()
    each = torch.cat(tokens, dim=1).numpy()
    return [
        Divergence(Damage(kl, before, after, n_tokens), each[row])
        for row, (kl, before, after) in enumerate(means)
    ]


def _tokens(model: LoadedModel, text: str) -> tuple[int, ...]:
    tokens = encode(model.info, text).token_ids
    if len(tokens) <= _PROMPT:
        raise UserError(
            f"the neutral text {text!r} has {len(tokens)} tokens; damage is measured from the "
            "third token on, so make the text longer or leave it out"
        )
    return tokens


def _starts(model: LoadedModel, tokens: tuple[int, ...], layers: set[int]) -> dict[int, int]:
    """Return for each layer the first block that its passes have to run: the layer, or 0.

    A few architectures pass more than the hidden state from block to block, such as keys and
    values. One text is run to check whether the blocks from the layer on give the same result
    when the earlier blocks are skipped.
    """
    batch, top = pad([tokens], model), model.n_layers - 1
    plain = _run(model, batch, {top, *(layer - 1 for layer in layers)})
    starts = dict.fromkeys(layers, 0)
    for layer in layers - {0}:
        try:
            with _recalling(decoder_blocks(model.model)[:layer], plain[layer - 1]):
                again = _run(model, batch, {top})
        except Exception:  # a block lacked something that only a full pass gives it
            continue
        if torch.equal(hidden_of(again[top]), hidden_of(plain[top])):
            starts[layer] = layer
    return starts


def _sums(
    model: LoadedModel,
    sequences: Sequence[tuple[int, ...]],
    rows: Sequence[Steering],
    site: Site,
    starts: dict[int, int],
) -> torch.Tensor:
    """Return sums over one batch, and the KL of each of its tokens.

    [n_rows, 3 + n_tokens] float64: first the sums of KL and of the negative log-likelihoods.
    """
    batch = pad(sequences, model, side="right")
    length, top = batch.mask.shape[1], model.n_layers - 1
    plain = _run(model, batch, {top, *(start - 1 for start in starts.values())})
    ends = []
    for row in rows:
        start = starts[row.layer]
        below = decoder_blocks(model.model)[:start]
        # With padding on the right, the first token of every text is at the first position.
        with (
            steered(model, row.layer, site, row.delta, length - 1),
            _recalling(below, plain.get(start - 1)),
        ):
            ends.append(_run(model, batch, {top})[top])
    vocabulary = model.model.config.get_text_config().vocab_size
    step = max(1, LOGIT_FLOATS // (_COPIES * len(sequences) * vocabulary))
    sums = torch.zeros(len(rows), 3, dtype=torch.float64, device=model.device)
    each: list[torch.Tensor] = []
    for start in range(_PROMPT - 1, length - 1, step):
        part = slice(start, min(start + step, length - 1))
        following = slice(part.start + 1, part.stop + 1)
        real = batch.mask[:, following].bool()
        targets = batch.input_ids[:, following][real][:, None]
        before = _log_probs(model, batch, plain[top], part)[real]
        each.append(torch.zeros(len(rows), len(targets), dtype=torch.float64, device=model.device))
        for row_tokens, row_sums, end in zip(each[-1], sums, ends, strict=True):
            after = _log_probs(model, batch, end, part)[real]
            kl = nn.functional.kl_div(after, before, reduction="none", log_target=True).sum(dim=-1)
            # Rounding can leave a divergence just below 0.
            row_tokens[:] = kl.clamp(min=0)
            row_sums[0] += row_tokens.sum()
            row_sums[1] -= before.gather(-1, targets).sum(dtype=torch.float64)
            row_sums[2] -= after.gather(-1, targets).sum(dtype=torch.float64)
    return torch.cat([sums, *each], dim=1)


def _run(model: LoadedModel, batch: Batch, layers: set[int]) -> dict[int, Any]:
    """Run the blocks and return the outputs of those in `layers`; -1 is ignored."""
    outputs: dict[int, Any] = {}
    with ExitStack() as stack:
        for layer in layers - {-1}:

            def see(_: nn.Module, __: Any, output: Any, index: int = layer) -> None:
                outputs[index] = output

            block = decoder_blocks(model.model)[layer]
            stack.callback(block.register_forward_hook(see).remove)
        model.model.base_model(**batch.inputs())
    return outputs


def _log_probs(model: LoadedModel, batch: Batch, end: Any, part: slice) -> torch.Tensor:
    """Return [batch, positions, vocabulary] float32 from the last block's output."""
    ids, mask, positions, last = batch
    batch = Batch(ids[:, part], mask[:, part], positions[:, part], last)
    hidden = hidden_of(end)[:, part]
    output = (hidden, *end[1:]) if isinstance(end, tuple) else hidden
    # The model's own code computes the logits, because some architectures cap or scale them.
    with _recalling(decoder_blocks(model.model), output):
        logits: torch.Tensor = model.model(**batch.inputs()).logits
    return logits.float().log_softmax(dim=-1)


@contextmanager
def _recalling(blocks: Sequence[nn.Module] | nn.ModuleList, output: Any) -> Iterator[None]:
    """Within the context, these first blocks of the model return `output` without running."""
    with ExitStack() as stack:
        for block in blocks:
            if "forward" in vars(block):  # accelerate replaces the class's method
                stack.callback(setattr, block, "forward", vars(block)["forward"])
            else:
                stack.callback(delattr, block, "forward")
            block.forward = lambda *_, **__: output
        yield
