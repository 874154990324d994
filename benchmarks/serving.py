"""Serving: many requests with different vectors at once, against one at a time and unsteered.

`python -m benchmarks.serving --out serving.json` runs the demo's shape on a CPU;
`--shape llama-3.1-8b --device cuda --dtype bfloat16` a GPU. The weights and prompts are random, and
every request generates the same number of tokens, so only the work is measured. Only torch,
transformers and numpy are needed.
"""

import argparse
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_model import SHAPES, build
from benchmarks.timing import interleaved, ratio, save, show
from pas.decoding.request import Request
from pas.decoding.scheduler import Piece, Scheduler
from pas.models.loading import LoadedModel
from pas.steering.intervention import Intervention
from pas.steering.vector import SteeringVector

VECTORS = 4


def vectors_of(model: LoadedModel) -> list[SteeringVector]:
    """Return vectors at different layers, small against the hidden state."""
    generator = torch.Generator().manual_seed(0)
    layers = [model.n_layers * (k + 1) // (VECTORS + 1) for k in range(VECTORS)]
    return [
        SteeringVector(
            torch.randn(model.info.d_model, generator=generator).numpy() * 0.01,
            layer, "residual", 1.0, "random", model.spec, model.fingerprint, "",
        )
        for layer in layers
    ]  # fmt: skip


def requests_of(model: LoadedModel, options: argparse.Namespace, steered: bool) -> list[Request]:
    """Return requests; of the steered ones each has one of the vectors and a strength."""
    generator = torch.Generator().manual_seed(1)
    vectors, vocabulary = vectors_of(model), model.model.config.vocab_size
    found = []
    for number in range(options.requests):
        length = int(
            torch.randint(options.prompt // 2, options.prompt + 1, (1,), generator=generator)
        )
        ids = tuple(torch.randint(2, vocabulary, (length,), generator=generator).tolist())
        vector = vectors[number % VECTORS]
        interventions = (Intervention(vector, 0.5 + number % 3),) if steered else ()
        found.append(Request(ids, options.tokens, interventions))
    return found


def run(scheduler: Scheduler, requests: Sequence[Request]) -> None:
    """Hand requests in together and wait until all have ended."""
    done, left = threading.Event(), [len(requests)]

    def deliver(_: int, piece: Piece) -> None:
        if piece.error is not None:
            raise piece.error
        if piece.finish:
            left[0] -= 1
            if not left[0]:
                done.set()

    scheduler.submit(requests, deliver)
    done.wait()


def generation(model: LoadedModel, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Return `generate` of transformers on one prompt, unsteered and steered."""
    [request, *_] = requests_of(model, options, True)
    ids = torch.tensor([request.token_ids], device=model.device)
    settings: dict[str, Any] = {
        "max_new_tokens": options.tokens,
        "do_sample": False,
        "pad_token_id": 0,
        "attention_mask": torch.ones_like(ids),
    }
    [vector, *_] = vectors_of(model)

    def plain() -> None:
        model.model.generate(ids, **settings)

    def steered() -> None:
        with vector.on(model):
            model.model.generate(ids, **settings)

    return {"generate": plain, "generate, steered": steered}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=96, help="longest prompt, tokens")
    parser.add_argument("--tokens", type=int, default=48, help="new tokens of each request")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = build(options.shape, torch.device(options.device), getattr(torch, options.dtype))
    model.model.generation_config.eos_token_id = None
    scheduler = Scheduler(model, options.requests)
    scheduler.start()
    mixed, plain = (requests_of(model, options, steered) for steered in (True, False))

    def one_at_a_time() -> None:
        for request in mixed:
            run(scheduler, [request])

    with torch.inference_mode():
        contenders = {
            "together, each with a vector": lambda: run(scheduler, mixed),
            "together, unsteered": lambda: run(scheduler, plain),
            "one at a time, with the vectors": one_at_a_time,
        }
        times = interleaved(contenders, options.repeats)
        alone = interleaved(generation(model, options), 3 * options.repeats)
    scheduler.stop()
    together, unsteered, single = times.values()
    off, on = alone.values()
    tokens = options.requests * options.tokens
    rows = [
        {
            "run": name,
            "seconds": sorted(t)[len(t) // 2],
            "tokens/s": tokens / sorted(t)[len(t) // 2],
        }
        for name, t in times.items()
    ]
    rows += [
        {
            "run": name,
            "seconds": sorted(t)[len(t) // 2],
            "tokens/s": options.tokens / sorted(t)[len(t) // 2],
        }
        for name, t in alone.items()
    ]
    ratios = {
        "together / one at a time": ratio(single, together),
        "steered / unsteered, together": ratio(unsteered, together),
        "cost of steering in generate": ratio(on, off) - 1,
    }
    notes = [f"{name}: {value:.3f}" for name, value in ratios.items()]
    notes.append(
        f"{options.requests} requests, prompts of {options.prompt // 2} to {options.prompt} "
        f"tokens, {options.tokens} new tokens each, {VECTORS} vectors; medians of "
        f"{options.repeats}."
    )
    show(f"Serving, {options.shape} on {options.device}, {options.dtype}", rows, notes)
    document = {"benchmark": "serving", "options": vars(options) | {"out": None}}
    save(options.out, document | {"table": rows, "ratios": ratios, "times": times | alone})


if __name__ == "__main__":
    main()
