"""Apply vectors to every forward call of a model, with hooks.

docs/method.md, "Where a vector is read and written".
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.models.sites import Site, editing, text_decoder
from pas.steering.compatibility import require_fit
from pas.steering.intervention import Composition, Intervention, interventions_of
from pas.steering.operations import Change, edit_of
from pas.steering.positions import read_positions
from pas.steering.vector import SteeringVector

Edit = Callable[[torch.Tensor], torch.Tensor]

# They run other sequences, or a part of the model, within the generation.
REFUSED = {
    "assistant_model": "assisted decoding, whose other model would not be steered",
    "prompt_lookup_num_tokens": "assisted decoding by prompt lookup",
    "assistant_early_exit": "assisted decoding by early exit, which leaves out the steered layers",
    "guidance_scale": "classifier-free guidance, which runs a second prompt unsteered",
}


@contextmanager
def steered(
    model: LoadedModel, layer: int, site: Site, delta: torch.Tensor, tail: int = 1
) -> Iterator[None]:
    """Within the context, add `delta` to the last positions of every forward call.

    Args:
        model: The model; its lock is held within the context.
        layer: Decoder block, counted from 0.
        site: Where in the block.
        delta: [d_model], the direction times the strength.
        tail: Number of last positions that are steered. Sequences must be padded on the left.

    Raises:
        UserError: If the model has no such layer or site, or another width than the vector.
        RuntimeError: On leaving the context, if no forward pass went through the site.
    """
    width = model.info.d_model
    if delta.shape != (width,):  # one number alone would be added to every dimension
        raise UserError(f"model {model.spec.id} has {width} dimensions, the vector {delta.numel()}")
    delta = delta.to(model.device, model.model.dtype)

    def edit(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, -tail:] += delta.to(hidden.device)
        return hidden

    with model.lock, editing(model.model, layer, site, edit):
        yield


@dataclass
class _Call:
    """What is known about the forward call that runs, and the sequences before it.

    Attributes:
        start: Column of the last prompt token, one for all rows or [batch] int64; None if it is
            not known.
        past: Columns that the cache holds.
        count: Columns of this call.
        mask: The two-dimensional attention mask that the model was called with, if there was one.
        generating: Whether `generate` runs, which knows where the prompt ends.
        ran: Whether any forward call has begun.
        turn: Held while `generate` runs: another thread waits.
    """

    start: int | torch.Tensor | None = None
    past: int = 0
    count: int = 0
    mask: torch.Tensor | None = None
    generating: bool = False
    ran: bool = False
    turn: threading.RLock = field(default_factory=threading.RLock)


@contextmanager
def steer(
    model: Any,
    interventions: SteeringVector | Intervention | Composition | Sequence[Intervention],
) -> Iterator[None]:
    """Within the context, steer every run of a model: `generate`, a pipeline, a forward call.

    Which positions are steered depends on where the prompt ends. `model.generate` knows it. In a
    forward call outside `generate`, what a call without a cache runs is the prompt, and one-token
    calls with its cache continue it. Beams and several samples of a prompt have its strength.

    Args:
        model: A `LoadedModel`, whose lock is held within the context, or a transformers model.
        interventions: A vector with its own strength, an intervention, or several.

    Raises:
        UserError: If a vector does not fit the model, or strengths and rows differ in number, or
            the model is run in a way that leaves open which positions are steered: assisted
            decoding, guidance, a mask of four dimensions, several tokens after a cache.
        RuntimeError: On leaving the context, if the model ran and a site was not reached.
    """
    wanted = interventions_of(interventions)
    for one in wanted:
        require_fit(one.vector, model)
    network = model.model if isinstance(model, LoadedModel) else model
    active = [i for i in wanted if any(i.strengths)]
    call = _Call()
    with ExitStack() as stack:
        if isinstance(model, LoadedModel):
            stack.enter_context(model.lock)
        if active:
            stack.enter_context(_following(network, call, active))
        place = _place
        for (layer, site), group in groupby(sorted(active, key=place), key=place):
            edits = [_edit(i, call) for i in group]
            stack.enter_context(
                editing(network, layer, site, _in_turn(edits), unless=lambda: not call.ran)
            )
        yield


def _place(intervention: Intervention) -> tuple[int, Site]:
    return intervention.vector.layer, intervention.vector.site


def _in_turn(edits: Sequence[Edit]) -> Edit:
    def edit(hidden: torch.Tensor) -> torch.Tensor:
        for one in edits:
            hidden = one(hidden)
        return hidden

    return edit


def _edit(intervention: Intervention, call: _Call) -> Edit:
    """Return the function that steers hidden states [batch, positions, d_model] of a call."""
    positions = read_positions(intervention.positions)
    direction = torch.from_numpy(intervention.vector.direction)
    prepared: dict[tuple[int, torch.device, torch.dtype], Edit] = {}

    def change(hidden: torch.Tensor) -> Edit:
        key = len(hidden), hidden.device, hidden.dtype
        if key not in prepared:
            strengths = _strengths(intervention.strengths, len(hidden))
            parts = Change(direction.to(hidden.device), strengths.to(hidden.device))
            prepared[key] = edit_of(intervention.operation, parts, hidden.dtype)
        return prepared[key]

    def edit(hidden: torch.Tensor) -> torch.Tensor:
        columns = positions.columns(call.past, call.count, call.start)
        if columns is None:
            return hidden
        if isinstance(columns, torch.Tensor):
            mask = columns.to(hidden.device)[:, :, None]
            return torch.where(mask, change(hidden)(hidden), hidden)
        if columns == slice(0, call.count):
            return change(hidden)(hidden)
        hidden = hidden.clone()
        hidden[:, columns] = change(hidden)(hidden[:, columns])
        return hidden

    return edit


def _strengths(strengths: tuple[float, ...], batch: int) -> torch.Tensor:
    """Return [batch] or [1] float32: beams and samples of a prompt stand in neighbouring rows."""
    if len(strengths) > 1 and batch % len(strengths):
        raise UserError(
            f"{len(strengths)} strengths for a batch of {batch}: give one strength, or one a row"
        )
    repeats = batch // len(strengths) if len(strengths) > 1 else 1
    return torch.tensor(strengths, dtype=torch.float32).repeat_interleave(repeats)


@contextmanager
def _following(network: Any, call: _Call, active: Sequence[Intervention]) -> Iterator[None]:
    """Within the context, keep `call` up to date with what the model runs."""
    ranges = [read_positions(i.positions) for i in active]
    needs_start = any(r.needs_start for r in ranges)
    rows = {len(i.strengths) for i in active} - {1}
    if len(rows) > 1:
        raise UserError(
            f"strengths for {' and '.join(map(str, sorted(rows)))} rows: they are for one batch, "
            "so give each intervention one strength, or as many as the others"
        )

    def before_model(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        call.mask = _two_dimensional(kwargs.get("attention_mask"))

    def before_decoder(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        call.ran = True
        tokens = args[0] if args else kwargs.get("input_ids")
        tokens = kwargs["inputs_embeds"] if tokens is None else tokens
        cache = kwargs.get("past_key_values")
        call.count = tokens.shape[1]
        call.past = 0 if cache is None else int(cache.get_seq_length())
        if not needs_start or call.generating:
            return
        mask = kwargs.get("attention_mask")
        if call.past == 0:
            call.start = _last_columns(call, mask)
        elif call.count > 1:
            raise UserError(
                f"{call.count} tokens in one call after {call.past} in the cache: which of them "
                "are generated is not known. Use model.generate, or positions all."
            )
        elif call.start is None:
            if any(r.first is None or r.stop is not None for r in ranges):
                raise UserError(
                    "the cache was filled outside the context, so where its prompt ends is not "
                    "known: fill it within the context, or use positions generated or all"
                )
            call.start = call.past

    plain = network.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        inputs = _prompt_of(args, kwargs)
        _require_sequential(network, kwargs)
        with call.turn:
            if rows and len(inputs) not in rows:
                raise UserError(
                    f"{max(rows)} strengths for {len(inputs)} prompts: give one strength, or one "
                    "a prompt"
                )
            mask = _two_dimensional(kwargs.get("attention_mask"))
            if needs_start and mask is not None and not bool(mask[:, -1].all()):
                raise UserError(
                    "prompts are padded on the right, after which generation cannot go on: pad "
                    "them on the left (tokenizer.padding_side = 'left')"
                )
            call.start, call.generating = inputs.shape[1] - 1, True
            try:
                return plain(*args, **kwargs)
            finally:
                call.start, call.generating = None, False

    decoder = text_decoder(network)
    with ExitStack() as stack:
        for module, hook in ((network, before_model), (decoder, before_decoder)):
            handle = module.register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        own = vars(network).get("generate")
        network.generate = generate
        stack.callback(_restore, network, own)
        yield


def _restore(network: Any, own: Any) -> None:
    """Give back the model's method `generate`, or the one of an outer context."""
    if own is None:
        del network.generate
    else:
        network.generate = own


def _two_dimensional(mask: Any) -> torch.Tensor | None:
    return mask if isinstance(mask, torch.Tensor) and mask.ndim == 2 else None


def _last_columns(call: _Call, mask: Any) -> int | torch.Tensor:
    """Return the column of each row's last token that is not padding, in a call without a cache.

    Raises:
        UserError: If the attention mask does not tell.
    """
    padding = call.mask if call.mask is not None else _two_dimensional(mask)
    if padding is None:
        if mask is not None:
            raise UserError(
                "an attention mask of two dimensions is needed to know where each prompt ends; "
                "give one, or use positions all"
            )
        return call.count - 1
    if bool(padding[:, -1].all()):
        return call.count - 1
    columns = torch.arange(call.count, device=padding.device)
    return (columns * (padding != 0)).amax(dim=1)


def _prompt_of(args: Sequence[Any], kwargs: dict[str, Any]) -> torch.Tensor:
    """Return the prompts of a call of `generate`, [batch, tokens] or [batch, tokens, d_model].

    Raises:
        UserError: If it has none.
    """
    candidates = (*args[:1], *(kwargs.get(n) for n in ("inputs", "input_ids", "inputs_embeds")))
    for candidate in candidates:
        if isinstance(candidate, torch.Tensor):
            return candidate
    raise UserError("generate needs input_ids, so that it is known where the prompt ends")


def _require_sequential(network: Any, kwargs: dict[str, Any]) -> None:
    """Refuse decoding in which it is not each token alone that follows the prompt.

    Raises:
        UserError: Naming the option.
    """
    config = kwargs.get("generation_config") or network.generation_config
    for name, reason in REFUSED.items():
        value = kwargs.get(name, getattr(config, name, None))
        # 1 is no guidance; the other options are models and numbers of tokens.
        if value and not (name == "guidance_scale" and value == 1):
            raise UserError(f"{name}: leave it out under steering; it asks for {reason}")
