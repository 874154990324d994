"""A running batch: rows of different requests that join and leave between two tokens.

Rows are padded on the left to one length of the KV cache. Each has its own vectors, strengths and
sampling. docs/method.md, "What a vector can do".
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import DynamicCache

from pas.decoding.request import Request, Token
from pas.decoding.sampling import choose, generator_of
from pas.models.loading import LoadedModel
from pas.models.padding import pad
from pas.steering.apply import steer
from pas.steering.intervention import Intervention
from pas.steering.positions import read_positions


@dataclass(eq=False)
class Row:
    """One request that runs.

    Attributes:
        request: What is asked for.
        token_ids: Generated so far.
        generator: Source of its draws.
    """

    request: Request
    token_ids: list[int] = field(default_factory=list)
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        """Make the source of the draws."""
        self.generator = generator_of(self.request.sampling)

    @property
    def active(self) -> list[Intervention]:
        """The interventions that steer the newest token's position."""
        return [one for one in self.request.interventions if self._reaches(one)]

    def _reaches(self, one: Intervention) -> bool:
        positions = read_positions(one.positions)
        # The last prompt token is 0, so the newest generated one is at their number.
        return positions.stop is None or len(self.token_ids) < positions.stop


class RunningBatch:
    """The rows that generate together, and their KV cache."""

    def __init__(self, model: LoadedModel) -> None:
        """Start with no row.

        Args:
            model: The model. Its lock is held during a forward call.
        """
        self.rows: list[Row] = []
        self._model = model
        self._cache = DynamicCache()
        self._mask = torch.zeros(0, 0, dtype=torch.int64, device=model.device)

    @torch.inference_mode()
    def join(self, rows: Sequence[Row]) -> list[Token | None]:
        """Run the prompts of new rows together; they are in the batch afterwards.

        Returns:
            The first token of each new row; None where its scores are not finite.

        Raises:
            UserError: If a vector does not fit the model.
        """
        batch = pad([row.request.token_ids for row in rows], self._model)
        # Without a configuration every layer keeps all columns, also where a window is attended to.
        cache = DynamicCache()
        with self._steering([row.request.interventions for row in rows]):
            logits = self._forward(batch.input_ids, batch.mask, batch.position_ids, cache)
        self._append(cache, batch.mask)
        self.rows += rows
        return self._choose(logits, rows)

    @torch.inference_mode()
    def step(self) -> list[Token | None]:
        """Run the newest token of every row.

        Returns:
            The next token of each row, in the order of `rows`; None where its scores are not
            finite.
        """
        newest = torch.tensor([[row.token_ids[-1]] for row in self.rows])
        positions = self._mask.sum(dim=-1, keepdim=True)
        mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        now = [[replace(one, positions="all") for one in row.active] for row in self.rows]
        with self._steering(now):
            logits = self._forward(newest, mask, positions, self._cache)
        self._mask = mask
        return self._choose(logits, self.rows)

    def leave(self, rows: Sequence[Row]) -> None:
        """Take rows out of the batch, and the columns that no other row needs."""
        kept = [number for number, row in enumerate(self.rows) if row not in rows]
        self.rows = [self.rows[number] for number in kept]
        index = torch.tensor(kept, dtype=torch.int64, device=self._mask.device)
        mask = self._mask[index]
        first = int(mask.any(dim=0).int().argmax()) if kept else mask.shape[1]
        self._mask = mask[:, first:]
        if not kept:
            self._cache = DynamicCache()
            return
        for layer in self._cache.layers:
            index = index.to(layer.keys.device)
            layer.keys = layer.keys[index, :, first:]
            layer.values = layer.values[index, :, first:]

    def _steering(self, rows: Sequence[Sequence[Intervention]]) -> AbstractContextManager[None]:
        """Return the context that steers each row by its own interventions."""
        strengths: dict[tuple[int, int, str, str], list[float]] = {}
        vectors: dict[tuple[int, int, str, str], Intervention] = {}
        for number, interventions in enumerate(rows):
            for order, one in enumerate(interventions):
                # With its place in the request, because the interventions of a row have an order.
                key = (order, id(one.vector), one.positions, one.operation)
                if key not in strengths:
                    vectors[key], strengths[key] = one, [0.0] * len(rows)
                strengths[key][number] = one.strengths[0]
        applied = [replace(vectors[key], strength=tuple(strengths[key])) for key in sorted(vectors)]
        return steer(self._model, applied) if applied else nullcontext()

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """Return the scores after the last column, [rows, vocabulary] float32."""
        device = self._model.device
        with self._model.lock:
            output = self._model.model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=positions.to(device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return torch.Tensor(output.logits[:, -1].float())

    def _append(self, cache: Any, mask: torch.Tensor) -> None:
        """Put the rows of a cache below those of the batch, padded to one length."""
        if not self.rows:
            self._cache, self._mask = cache, mask
            return
        own, new = self._mask.shape[1], mask.shape[1]
        longest = max(own, new)

        def padded(tensor: torch.Tensor, columns: int, last: bool = False) -> torch.Tensor:
            widths = (longest - columns, 0) if last else (0, 0, longest - columns, 0)
            return torch.nn.functional.pad(tensor, widths)

        for layer, more in zip(self._cache.layers, cache.layers, strict=True):
            layer.keys = torch.cat([padded(layer.keys, own), padded(more.keys, new)])
            layer.values = torch.cat([padded(layer.values, own), padded(more.values, new)])
        self._mask = torch.cat([padded(self._mask, own, True), padded(mask, new, True)])

    def _choose(self, logits: torch.Tensor, rows: Sequence[Row]) -> list[Token | None]:
        tokens = choose(
            logits,
            [row.request.sampling for row in rows],
            [row.generator for row in rows],
            [row.request.n_top for row in rows],
        )
        for row, token in zip(rows, tokens, strict=True):
            if token is not None:
                row.token_ids.append(token.id)
        return tokens
