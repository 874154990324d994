"""A running batch, whose rows come and go, against a loop that re-runs each sequence alone."""

import math
from collections.abc import Callable

import pytest
import torch

from pas.decoding.batch import Row, RunningBatch
from pas.decoding.request import GREEDY, Request, Sampling
from pas.decoding.sampling import choose, generator_of
from pas.errors import UserError
from pas.models.loading import LoadedModel
from tests.helpers import oracle
from tests.helpers.steering import requests, used
from tests.helpers.tiny_models import ARCHITECTURES

Tiny = Callable[..., LoadedModel]


def literally(model: LoadedModel, request: Request) -> list[int]:
    uses = [used(one) for one in request.interventions]
    return oracle.continuation(model.model, request.token_ids, uses, request.max_new_tokens)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_rows_that_come_and_go_are_continued_as_each_alone(tiny: Tiny, arch: str) -> None:
    model, n_new = tiny(arch), 9
    rows = [Row(request) for request in requests(model, n_new)]
    batch = RunningBatch(model)
    batch.join(rows[:2])
    for step in range(40):
        if step == 2:
            batch.join(rows[2:4])  # a longer and a shorter one than those that run
        if step == 4:
            batch.join(rows[4:])
        ended = [row for row in batch.rows if len(row.token_ids) == n_new]
        if ended:
            batch.leave(ended)
        if batch.rows:
            batch.step()
    assert [row.token_ids for row in rows] == [literally(model, row.request) for row in rows]
    assert batch.rows == []


def test_draws_do_not_depend_on_the_other_rows(tiny: Tiny) -> None:
    model = tiny("llama")
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=7)

    def run(together: list[Request]) -> list[list[int]]:
        rows, batch = [Row(request) for request in together], RunningBatch(model)
        batch.join(rows)
        for _ in range(6):
            batch.step()
        return [row.token_ids for row in rows]

    wanted = requests(model, 7, sampling)
    assert run(wanted) == [run([request])[0] for request in wanted]
    assert run(wanted) != run(requests(model, 7))


def test_an_empty_batch_starts_anew(tiny: Tiny) -> None:
    model = tiny("qwen2")
    [first, *_] = requests(model, 3)
    batch, found = RunningBatch(model), []
    for _ in range(2):
        row = Row(first)
        batch.join([row])
        batch.step()
        batch.leave([row])
        found.append(row.token_ids)
    assert found[0] == found[1] == literally(model, first)[:2]


def test_choosing() -> None:
    scores = torch.tensor([[0.0, 3.0, 1.0, 2.0]]).repeat(4, 1)
    scores[3, 2] = math.inf
    samplings = [GREEDY, Sampling(1.0, 0.6, 1), Sampling(1e-12, 1.0, 1), GREEDY]
    generators = [generator_of(s) for s in samplings]
    tokens = choose(scores, samplings, generators, [2, 0, 0, 0])
    log_probs = torch.log_softmax(scores[0], dim=-1).tolist()
    assert tokens[0] is not None and tokens[1] is not None and tokens[2] is not None
    assert tokens[0].id == tokens[1].id == tokens[2].id == 1, "0.6 of the mass is on one token"
    assert tokens[0].log_prob == pytest.approx(log_probs[1])
    assert [i for i, _ in tokens[0].top] == [1, 3]
    assert [p for _, p in tokens[0].top] == pytest.approx([log_probs[1], log_probs[3]])
    assert tokens[3] is None


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([1.0, 0.0, 2.0, -1.0])
    n, temperature, top_p = 4000, 0.7, 0.9
    rows = logits.repeat(n, 1)
    samplings = [Sampling(temperature, top_p, seed) for seed in range(n)]
    tokens = choose(rows, samplings, [generator_of(s) for s in samplings], [0] * n)
    counts = torch.bincount(torch.tensor([t.id for t in tokens if t]), minlength=4) / n
    wanted = torch.softmax(logits / temperature, dim=-1)
    wanted[[1, 3]] = 0  # the two likeliest have 0.95 together, and 0.79 is not 0.9
    assert torch.allclose(counts, wanted / wanted.sum(), atol=0.03)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Sampling(-1.0), "temperature -1"),
        (lambda: Sampling(math.nan), "temperature nan"),
        (lambda: Sampling(1.0, 0.0), "top_p 0"),
        (lambda: Sampling(1.0, 1.0, 2**63), "64 bits"),
        (lambda: Request((1,), 0), "max_new_tokens 0"),
        (lambda: Request((), 1), "the prompt is empty"),
        (lambda: Request((1,), 1, stop=("a", "")), "an empty text"),
    ],
)
def test_what_a_request_refuses(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()
