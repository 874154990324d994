"""The sweep's rows equal separate runs, whatever the engine, budget, site or company."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pas.engine.memory import Budget
from pas.engine.prefix import Steering
from pas.engine.scoring import Query, ScoringRule, prepare
from pas.engine.sweep import score_rows
from pas.models.loading import LoadedModel, load_model
from pas.models.sites import SITES, Site, UnsupportedArchitectureError
from pas.models.spec import ModelSpec
from tests.helpers import oracle
from tests.helpers.pretended_devices import FIRST, SECOND, spread
from tests.helpers.tiny_models import (
    ARCHITECTURES,
    D_MODEL,
    N_BLOCKS,
    WRAPPERS,
    tokenizer_for,
    toy_questions,
)

Tiny = Callable[[str], LoadedModel]


LETTER, CHOICE = ScoringRule("letter"), ScoringRule("choice", length_norm=False)


def questions_of(model: LoadedModel, rule: ScoringRule, n: int = 5) -> list[Query]:
    """Questions of 2 to 5 choices; as the texts differ, so do prompt and tail lengths."""
    rows = toy_questions(n, seed=0)
    assert len({len(row["choices"]) for row in rows}) > 2
    return [prepare(model.info, r["question"], r["choices"], r["label"], rule) for r in rows]


def random_rows(layers: list[int], seed: int = 0, width: int = D_MODEL) -> list[Steering]:
    made = torch.Generator().manual_seed(seed)
    return [Steering(layer, torch.randn(width, generator=made) * 0.7) for layer in layers]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor], rule: ScoringRule) -> None:
    """Letter scores lack a normaliser common to a question's letters; compare differences."""
    for left, right in zip(found, expected, strict=True):
        if rule.kind == "letter":
            left, right = left - left[:, :1], right - right[:, :1]
        torch.testing.assert_close(left, right, atol=2e-4, rtol=0)


@pytest.mark.parametrize("rule", [LETTER, CHOICE], ids=["letter", "choice"])
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("arch", [*ARCHITECTURES, *WRAPPERS])
def test_engines_agree_at_every_site(tiny: Tiny, arch: str, site: Site, rule: ScoringRule) -> None:
    model = tiny(arch)
    questions, rows = questions_of(model, rule, 4), random_rows([2, 0, N_BLOCKS - 1, 2])
    fast = score_rows(model, questions, rows, site, length_norm=False, engine="prefix")
    slow = score_rows(model, questions, rows, site, length_norm=False, engine="hooks")
    assert_same(fast, slow, rule)
    # A row that did nothing would agree too.
    moved = [(table[1:] - table[:1]).abs().amax(dim=1) for table in fast]
    assert (torch.stack(moved).amax(dim=0) > 1e-3).all()


@pytest.mark.parametrize("rule", [LETTER, CHOICE], ids=["letter", "choice"])
@pytest.mark.parametrize("arch", ["gemma2", "gpt2"])
def test_swept_equals_re_run(tiny: Tiny, arch: str, rule: ScoringRule) -> None:
    """Many rows of many questions at once, against each row of each question by itself."""
    model = tiny(arch)
    questions, rows = questions_of(model, rule), random_rows([3, 1, 0, 3, 2, 1, 0])
    swept = score_rows(model, questions, rows)
    assert [tuple(table.shape) for table in swept] == [
        (1 + len(rows), len(q.letters) or len(q.sequences)) for q in questions
    ]
    alone = [
        torch.cat(
            [score_rows(model, [question], [])[0]]
            + [score_rows(model, [question], [row], engine="hooks")[0][1:] for row in rows]
        )
        for question in questions
    ]
    assert_same(swept, alone, rule)


@pytest.mark.parametrize("rule", [LETTER, CHOICE], ids=["letter", "choice"])
def test_budgets_do_not_change_the_answer(tiny: Tiny, rule: ScoringRule) -> None:
    model = tiny("mistral")
    questions, rows = questions_of(model, rule), random_rows([2, 0, 1, 2, 3])
    expected = score_rows(model, questions, rows)
    for budget in (Budget(1, 1), Budget(150, 7), Budget(10**6, 10**6)):
        assert_same(score_rows(model, questions, rows, budget=budget), expected, rule)


@pytest.mark.parametrize("engine", ["prefix", "hooks"])
def test_out_of_memory_halves_rows_and_then_batches(tiny: Tiny, engine: str) -> None:
    model = tiny("llama")
    questions, rows = questions_of(model, LETTER), random_rows([0] * 12)
    expected = score_rows(model, questions, rows, engine=engine)
    longest = max(len(tail.token_ids) for q in questions for tail in q.sequences)
    sizes: list[int] = []

    def before(_: Any, args: Any, kwargs: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        sizes.append(hidden.shape[0] * hidden.shape[1])
        if sizes[-1] > longest:  # less than two sequences and than all rows of five
            raise torch.OutOfMemoryError

    handle = model.model.model.layers[1].register_forward_pre_hook(before, with_kwargs=True)
    try:
        found = score_rows(model, questions, rows, engine=engine)
    finally:
        handle.remove()
    assert max(sizes) > longest
    assert_same(found, expected, LETTER)


@pytest.mark.parametrize("engine", ["prefix", "hooks"])
@pytest.mark.parametrize("rule", [LETTER, CHOICE], ids=["letter", "choice"])
def test_strength_zero_is_unsteered(tiny: Tiny, engine: str, rule: ScoringRule) -> None:
    model = tiny("qwen2")
    questions = questions_of(model, rule)
    rows = [Steering(layer, torch.zeros(D_MODEL)) for layer in range(N_BLOCKS)]
    for table in score_rows(model, questions, rows, engine=engine):
        torch.testing.assert_close(
            table, table[:1].expand_as(table), atol=1e-5, rtol=0, check_stride=False
        )


def test_length_norm_divides_by_the_choice_tokens(tiny: Tiny) -> None:
    model = tiny("llama")
    (question,) = questions_of(model, CHOICE)[:1]
    total = score_rows(model, [question], [], length_norm=False)[0][0]
    mean = score_rows(model, [question], [], length_norm=True)[0][0]
    counts = torch.tensor([float(len(tail.targets)) for tail in question.sequences])
    torch.testing.assert_close(mean * counts, total)


@pytest.mark.parametrize("engine", ["prefix", "hooks"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_normalised_letters_are_shares_of_the_whole_vocabulary(
    tiny: Tiny, arch: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(arch)
    questions, rows = questions_of(model, LETTER, 4), random_rows([2, 0, N_BLOCKS - 1])
    expected = [
        torch.tensor([
            oracle.letter_scores(
                model.model, model.tokenizer, raw["question"], len(raw["choices"]), "both", steering
            )
            for steering in (None, *(oracle.Steering(*row) for row in rows))
        ])
        for raw in toy_questions(4, seed=0)
    ]  # fmt: skip
    shares = [table.double().exp().sum(dim=1) for table in expected]
    assert all(((share > 0) & (share < 0.999)).all() for share in shares)

    def scores(normalise: bool = True, budget: Budget | None = None) -> list[torch.Tensor]:
        return score_rows(model, questions, rows, engine=engine, budget=budget, normalise=normalise)

    found = scores()
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, atol=2e-4, rtol=0)
    plain = scores(normalise=False)
    assert_same(plain, found, LETTER)
    assert all(torch.equal(a.argmax(1), b.argmax(1)) for a, b in zip(plain, found, strict=True))
    assert not any(torch.allclose(a, b, atol=0.1) for a, b in zip(plain, found, strict=True))
    # Two lines of logits at a time, of more than one item.
    for name in ("engine.readout", "engine.hooked"):
        monkeypatch.setattr(f"pas.{name}.LOGIT_FLOATS", 2 * len(model.tokenizer))
    for budget in (None, Budget(150, 7)):
        for left, right in zip(scores(budget=budget), found, strict=True):
            torch.testing.assert_close(left, right, atol=1e-4, rtol=0)


def test_normalising_leaves_choice_scores_alone(tiny: Tiny) -> None:
    model = tiny("llama")
    questions, rows = questions_of(model, CHOICE, 3), random_rows([2])
    for engine in ("prefix", "hooks"):
        plain = score_rows(model, questions, rows, engine=engine)
        found = score_rows(model, questions, rows, engine=engine, normalise=True)
        assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))


@pytest.mark.parametrize("rule", [LETTER, CHOICE], ids=["letter", "choice"])
@pytest.mark.parametrize("site", ["residual", "mlp"])
@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2", "qwen2_vl"])
def test_blocks_may_be_on_several_devices(
    arch: str, site: Site, rule: ScoringRule, tiny: Tiny, tmp_path: Path
) -> None:
    one, two = tiny(arch), load_model(tiny(arch).spec, tmp_path)
    # The first row joins on the first device, the others on the second.
    questions, rows = questions_of(one, rule, 4), random_rows([1, 2, N_BLOCKS - 1])
    with spread(two.model):
        assert (two.device, two.devices) == (FIRST, (FIRST, SECOND))
        for engine in ("prefix", "hooks"):
            found = score_rows(two, questions, rows, site, engine=engine)
            assert all(table.device.type == "cpu" for table in found)
            assert_same(found, score_rows(one, questions, rows, site, engine=engine), rule)


FOREIGN: dict[str, Any] = {
    # Alibi in attention code of its own.
    "bloom": (lambda: transformers.BloomConfig(hidden_size=48, n_layer=3, n_head=4), "their own"),
    # The prefill goes through; only the walk finds that there is no final norm.
    "opt": (
        lambda: transformers.OPTConfig(
            hidden_size=48, word_embed_proj_dim=48, num_hidden_layers=3, num_attention_heads=4,
            ffn_dim=96, max_position_embeddings=256, do_layer_norm_before=False,
        ),
        "no final norm",
    ),
    # Scales its logits, which the row walk does not.
    "granite": (
        lambda: transformers.GraniteConfig(
            hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96,
            logits_scaling=4.0,
        ),
        "differs by",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", [LETTER, CHOICE], ids=["letter", "choice"])
@pytest.mark.parametrize("arch", FOREIGN)
def test_an_uncovered_architecture_falls_back_and_says_so(
    arch: str, rule: ScoringRule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, reason = FOREIGN[arch]
    tokenizer, config = tokenizer_for("llama"), make()
    config.vocab_size = len(tokenizer)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 0, 1, 2
    for name in ("initializer_range", "init_std"):
        if hasattr(config, name):
            setattr(config, name, 0.2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.AutoModelForCausalLM.from_config(config)
    network.save_pretrained(tmp_path / arch)
    tokenizer.save_pretrained(tmp_path / arch)
    model = load_model(ModelSpec(str(tmp_path / arch), device="cpu"), tmp_path / "cache")
    questions, rows = questions_of(model, rule, 4), random_rows([1, 0, 2])
    expected = score_rows(model, questions, rows, engine="hooks")
    if reason != "differs by":
        with pytest.raises(UnsupportedArchitectureError, match=reason):
            score_rows(model, questions, rows, engine="prefix")

    with caplog.at_level(logging.WARNING, logger="pas"):
        # As a training does it: the unsteered answers first, the sweep afterwards.
        unsteered = score_rows(model, questions, [])
        found = score_rows(model, questions, rows)
    assert_same(unsteered, [table[:1] for table in expected], rule)
    assert_same(found, expected, rule)
    assert reason in caplog.text and caplog.text.count("using padded batches and hooks") == 1


def test_a_covered_architecture_is_swept_by_the_row_walk(
    tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny("llama")
    questions, rows = questions_of(model, LETTER), random_rows([1, 0])
    ids = torch.tensor([questions[0].sequences[0].token_ids])
    with torch.no_grad():
        before = model.model(ids).logits
    with caplog.at_level(logging.WARNING, logger="pas"):
        auto = score_rows(model, questions, rows)
    fast = score_rows(model, questions, rows, engine="prefix")
    assert not caplog.records
    assert all(torch.equal(a, b) for a, b in zip(auto, fast, strict=True))
    # The model has its own attention again.
    with torch.no_grad():
        assert torch.equal(model.model(ids).logits, before)
