"""The oracle against facts that can be worked out by hand, or by another route."""

import random
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.helpers import oracle, tiny_models
from tests.helpers.oracle import Item, Scoring, Steering

ARCHITECTURES = tiny_models.ARCHITECTURES
LETTER, BOTH = Scoring("letter", "bare"), Scoring("letter", "both")
CHOICE, CHOICE_MEAN = Scoring("choice"), Scoring("choice", length_norm=True)


def toy_items(n: int) -> list[Item]:
    return [
        Item(**row, order=oracle.sound_order(len(row["choices"]), 7, row["id"]))
        for row in tiny_models.toy_questions(n)
    ]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def loaded(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return tiny_models.tiny_model(request.param), tiny_models.tokenizer_for(request.param)


def test_prompt_and_statement_are_the_papers_text() -> None:
    assert oracle.full_prompt("Who?", ["he", "she", "they"], "all are people") == (
        "Who?\nA: he\nB: she\nC: they\nRemember, all are people.\n"
        "Respond with a single letter.\nAnswer:"
    )
    assert oracle.full_prompt("Who?", ["he"]) == (
        "Who?\nA: he\nRespond with a single letter.\nAnswer:"
    )
    assert oracle.statement("Who?", "he") == "Who? he"


def test_a_conversation_is_rendered_with_earlier_turns_and_what_the_test_knows() -> None:
    tokenizer = tiny_models.tiny_tokenizer()
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}"
        "{% if add_generation_prompt and not short %} A{% endif %}"
    )
    chat = oracle.Chat(tokenizer, template, "Be brief.", header="(", close=")")
    assert oracle.chat_text(chat, "Who?", [("What?", "he")]) == (
        "system: Be brief.;user: What?;assistant: he;user: Who?; A()"
    )
    short = oracle.Chat(tokenizer, template, gap="_", variables=(("short", True),))
    scoring = oracle.Scoring("choice", chat=short)
    item = oracle.Item("i", "Who?", ("he", "she"), 0, (1, 0), "all are people")
    assert oracle.statement_of(item, 1, scoring) == "user: Who?;_she"
    assert oracle.prompt_of(item, oracle.Scoring(chat=short)) == (
        "user: Who?\nA: she\nB: he\nRemember, all are people.\nRespond with a single letter.;"
    )


def test_there_is_one_bos_and_no_end_token() -> None:
    for bos in (True, False):
        tokenizer = tiny_models.tiny_tokenizer(bos=bos)
        plain = tokenizer("Who?", add_special_tokens=False)["input_ids"]
        front = [tokenizer.bos_token_id]
        assert oracle.token_ids_of(tokenizer, "Who?") == (front if bos else []) + plain
        for n in (1, 2):
            assert oracle.token_ids_of(tokenizer, tiny_models.BOS * n + "Who?") == front + plain


def test_paper_order_is_one_permutation_and_sound_order_is_per_item() -> None:
    expected = list(range(4))
    random.Random(3).shuffle(expected)
    assert oracle.paper_order(4, 3) == oracle.paper_order(4, 3) == tuple(expected)
    orders = {oracle.sound_order(4, 3, f"q{i}") for i in range(40)}
    assert len(orders) > 10
    assert oracle.sound_order(4, 3, "q1") == oracle.sound_order(4, 3, "q1")
    item = Item("i", "Q", ("w", "x", "y", "z"), label=2, order=(3, 2, 0, 1))
    assert item.shown_choices == ["z", "y", "w", "x"]
    assert item.shown_label == 1


def test_read_activation_is_the_block_output_before_the_final_norm(
    loaded: tuple[Any, Any],
) -> None:
    model, tokenizer = loaded
    ids = oracle.token_ids_of(tokenizer, "The otter sat by the mill all morning.")
    with torch.no_grad():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    for layer in range(-1, tiny_models.N_BLOCKS - 1):
        torch.testing.assert_close(
            oracle.read_activation(model, ids, layer), states[layer + 1][0, -1]
        )
    last = oracle.read_activation(model, ids, tiny_models.N_BLOCKS - 1)
    final_norm = model.transformer.ln_f if hasattr(model, "transformer") else model.model.norm
    assert not torch.allclose(last, states[-1][0, -1], atol=0.1)
    torch.testing.assert_close(final_norm(last), states[-1][0, -1])


@pytest.mark.parametrize("scoring", [LETTER, BOTH, CHOICE, CHOICE_MEAN])
def test_zero_delta_changes_nothing_and_a_vector_does(
    loaded: tuple[Any, Any], scoring: Scoring
) -> None:
    model, tokenizer = loaded
    item = toy_items(1)[0]
    plain = oracle.item_scores(model, tokenizer, item, scoring)
    zero = torch.zeros(tiny_models.D_MODEL)
    for layer in range(tiny_models.N_BLOCKS):
        assert oracle.item_scores(model, tokenizer, item, scoring, Steering(layer, zero)) == plain
        moved = oracle.item_scores(
            model, tokenizer, item, scoring, Steering(layer, zero + torch.arange(48) / 10)
        )
        assert max(abs(a - b) for a, b in zip(plain, moved, strict=True)) > 1e-2


def test_the_unembedding_row_of_a_letter_forces_that_letter(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    last = tiny_models.N_BLOCKS - 1
    rows = model.get_output_embeddings().weight.detach()
    for target, letter in enumerate("ABCD"):
        (token,) = oracle.letter_token_ids(tokenizer, letter, "bare")
        push = Steering(last, 1e4 * rows[token])
        for item in toy_items(6):
            text = oracle.full_prompt(item.question, list("wxyz"))
            scores = oracle.letter_scores(model, tokenizer, text, 4, "bare", push)
            assert oracle.argmax(scores) == target


def test_steering_leaves_earlier_positions_alone(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    ids = oracle.token_ids_of(tokenizer, "It eats beetles, and it sleeps on the roof.")
    plain = oracle.next_token_logits(model, ids)
    with oracle.steered(model, 0, torch.arange(48) / 5, [5, 6]):
        moved = oracle.next_token_logits(model, ids)
    differs = (plain - moved).abs().amax(dim=1) > 1e-4
    assert not differs[:5].any()
    assert differs[5:7].all()


def test_a_steering_hook_is_removed_after_an_error_and_must_fire(
    loaded: tuple[Any, Any],
) -> None:
    model, _ = loaded
    plain = oracle.next_token_logits(model, range(9))
    with (
        pytest.raises(RuntimeError, match="did not fire"),
        oracle.steered(model, 1, torch.ones(48), [0]),
    ):
        pass
    with pytest.raises(KeyError), oracle.steered(model, 1, torch.ones(48), [0]):
        raise KeyError
    # transformers leaves hooks of its own on the blocks, so the effect is checked, not the list.
    assert torch.equal(oracle.next_token_logits(model, range(9)), plain)


def test_letter_steering_leaves_the_cached_prefix_unsteered(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    text = oracle.full_prompt("Where does the newt sleep?", ["here", "there", "elsewhere"])
    ids = oracle.token_ids_of(tokenizer, text)
    delta = torch.linspace(-1.0, 1.0, tiny_models.D_MODEL)
    scores = oracle.letter_scores(model, tokenizer, text, 3, "bare", Steering(1, delta))
    with torch.no_grad():
        prefix = model(torch.tensor([ids[:-1]]), use_cache=True).past_key_values
        with oracle.steered(model, 1, delta, [0]):
            out = model(torch.tensor([ids[-1:]]), past_key_values=prefix, use_cache=True)
    for score, letter in zip(scores, "ABC", strict=True):
        (token,) = oracle.letter_token_ids(tokenizer, letter, "bare")
        assert out.logits[0, -1, token].item() == pytest.approx(score, abs=1e-4)


def test_choice_steering_equals_steering_each_call_of_cached_generation(
    loaded: tuple[Any, Any],
) -> None:
    """Injection acts on the last position of every forward call, here with a real KV cache."""
    model, tokenizer = loaded
    item = toy_items(3)[2]
    delta = torch.linspace(-1.0, 1.0, tiny_models.D_MODEL)

    def steer_last(_module: Any, _args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, -1] += delta
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    scores = oracle.item_scores(model, tokenizer, item, CHOICE, Steering(1, delta))
    n_prompt, rows = oracle.split_choices(tokenizer, item.question, item.shown_choices)
    handle = oracle.find_blocks(model)[1].register_forward_hook(steer_last)
    try:
        for row, score in zip(rows, scores, strict=True):
            total, cache, fed = 0.0, None, row[:n_prompt]
            for token in row[n_prompt:]:
                with torch.no_grad():
                    out = model(torch.tensor([fed]), past_key_values=cache, use_cache=True)
                total += out.logits[0, -1].double().log_softmax(-1)[token].item()
                cache, fed = out.past_key_values, [token]
            assert total == pytest.approx(score, abs=1e-4)
    finally:
        handle.remove()


def test_choice_score_is_the_likelihood_of_the_choice_tokens() -> None:
    model, tokenizer = tiny_models.tiny_model("llama"), tiny_models.tokenizer_for("llama")
    question, choices = "Where does the newt sleep?", ["on the roof", "on clover"]
    n_question = len(oracle.token_ids_of(tokenizer, question))
    sums = oracle.choice_scores(model, tokenizer, question, choices, length_norm=False)
    means = oracle.choice_scores(model, tokenizer, question, choices, length_norm=True)
    for choice, total, mean in zip(choices, sums, means, strict=True):
        ids = torch.tensor([oracle.token_ids_of(tokenizer, f"{question} {choice}")])
        labels = ids.clone()
        labels[0, :n_question] = -100
        with torch.no_grad():
            loss = model(ids, labels=labels).loss.item()
        assert mean == pytest.approx(-loss, abs=1e-5)
        assert total == pytest.approx(-loss * (ids.shape[1] - n_question), abs=1e-4)


def test_prompt_length_when_a_choice_merges_into_the_question() -> None:
    merging = tiny_models.tiny_tokenizer(split_words=False)
    question, choices = "It eats", ["river snails", "clover"]
    question_ids = oracle.token_ids_of(merging, question)
    n_prompt, rows = oracle.split_choices(merging, question, choices)
    assert n_prompt == len(question_ids) - 1
    assert rows[0][:n_prompt] == rows[1][:n_prompt] == question_ids[:n_prompt]
    # Choices that start alike share tokens which are still scored.
    plain = tiny_models.tiny_tokenizer()
    n_prompt, _ = oracle.split_choices(plain, question, ["on the roof", "on the barn"])
    assert n_prompt == len(oracle.token_ids_of(plain, question))


def test_letter_variants() -> None:
    model, tokenizer = tiny_models.tiny_model("llama"), tiny_models.tokenizer_for("llama")
    text = oracle.full_prompt("Where?", ["here", "there"])
    logits = oracle.next_token_logits(model, oracle.token_ids_of(tokenizer, text))[-1].double()
    bare = oracle.letter_scores(model, tokenizer, text, 2, "bare")
    both = oracle.letter_scores(model, tokenizer, text, 2, "both")
    for index, letter in enumerate("AB"):
        ids = [tokenizer.convert_tokens_to_ids(token) for token in (letter, "Ġ" + letter)]
        assert bare[index] == pytest.approx(logits[ids[0]].item(), abs=1e-5)
        share = logits.softmax(-1)[ids].sum().log().item()
        assert both[index] == pytest.approx(share, abs=1e-5)
    merging = tiny_models.tiny_tokenizer(split_words=False)
    assert oracle.letter_token_ids(merging, "A", "both") == [merging.convert_tokens_to_ids("A")]
    assert oracle.argmax([1.0, 3.0, 3.0]) == oracle.answer([1.0, 3.0, 3.0], "i", CHOICE) == 1
    even = Scoring("choice", ties="even")
    assert {oracle.answer([1.0, 3.0, 3.0], str(i), even) for i in range(9)} == {1, 2}
    assert oracle.answer([1.0, 3.0, 2.0], "i", even) == 1
    assert oracle.answer([1.0, float("nan"), 2.0], "i", even) == -1


def test_contrast_sets_by_hand() -> None:
    items = [
        Item("a", "Qa", ("a0", "a1"), label=0, order=(1, 0)),
        Item("b", "Qb", ("b0", "b1", "b2"), label=2, order=(2, 0, 1), fact="f"),
    ]
    predictions = [1, 2]  # shown a0: right; shown b1: wrong
    tail = "Respond with a single letter.\nAnswer:"
    assert oracle.contrast("pasf", items, predictions, LETTER) == [
        (f"Qa\nA: a1\nB: a0\n{tail}", 1),
        (f"Qb\nA: b2\nB: b0\nC: b1\nRemember, f.\n{tail}", -1),
    ]
    assert oracle.contrast("pasf", items, predictions, CHOICE) == [("Qa", 1), ("Qb", -1)]
    assert oracle.contrast("ipasa", items, predictions, LETTER) == [("Qa a0", 1), ("Qb b1", -1)]
    assert oracle.contrast("ipaswo", items, predictions, LETTER) == [("Qb b2", 1), ("Qb b1", -1)]
    drawn = random.Random("caa:b").choice([0, 1])
    assert oracle.contrast("caa", items, predictions, LETTER) == [
        ("Qa a0", 1),
        ("Qa a1", -1),
        ("Qb b2", 1),
        (f"Qb b{drawn}", -1),
    ]


def test_vectors_and_sweep() -> None:
    model, tokenizer = tiny_models.tiny_model("qwen2"), tiny_models.tokenizer_for("qwen2")
    items = toy_items(8)
    arguments = (model, tokenizer, items, oracle.METHODS)
    sound = oracle.build_vectors(*arguments, (0, 1, 2), LETTER, "sound")
    paper = oracle.build_vectors(*arguments, (1, 2, 3), LETTER, "paper")
    assert set(sound) == {(method, layer) for method in oracle.METHODS for layer in (0, 1, 2)}
    for method, layer in sound:
        assert torch.equal(sound[method, layer], paper[method, layer + 1])

    predictions = oracle.predict(model, tokenizer, items, LETTER)
    signed = oracle.contrast("ipaswo", items, predictions, LETTER)
    total = torch.zeros(tiny_models.D_MODEL, dtype=torch.float64)
    for text, sign in signed:
        ids = oracle.token_ids_of(tokenizer, text)
        total += sign * oracle.read_activation(model, ids, 2).double()
    torch.testing.assert_close(sound["ipaswo", 2], total / (len(signed) / 2))
    assert oracle.mean_difference(model, tokenizer, [("x", 1)], 0) is None

    one = {("ipaswo", 1): sound["ipaswo", 1]}
    cells = oracle.sweep(model, tokenizer, items, one, (0.0, 8.0), LETTER)
    unsteered, pushed = cells["ipaswo", 1, 0.0], cells["ipaswo", 1, 8.0]
    assert unsteered.predictions == predictions
    assert unsteered.accuracy == oracle.accuracy(items, predictions)
    assert pushed.predictions != predictions
    hits = [p == item.shown_label for p, item in zip(pushed.predictions, items, strict=True)]
    assert pushed.accuracy == sum(hits) / 8


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_tiny_models_survive_a_round_trip_and_answer_variously(arch: str, tmp_path: Any) -> None:
    folder = tiny_models.save_tiny(arch, tmp_path / arch)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    original, original_tokenizer = tiny_models.tiny_model(arch), tiny_models.tokenizer_for(arch)
    assert type(model) is type(original)
    items = toy_items(16)
    for item in items:
        text = oracle.full_prompt(item.question, item.shown_choices, item.fact)
        ids = oracle.token_ids_of(tokenizer, text)
        assert ids == oracle.token_ids_of(original_tokenizer, text)
        assert len(ids) > tiny_models.SLIDING_WINDOW
    assert torch.equal(
        oracle.next_token_logits(model, ids), oracle.next_token_logits(original, ids)
    )
    for scoring in (LETTER, CHOICE):
        assert len(set(oracle.predict(model, tokenizer, items, scoring))) > 1
