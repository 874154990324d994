"""Tiny random causal LMs, a tiny byte-level BPE tokenizer and toy questions for the tests.

Everything is made in memory from fixed seeds; nothing is downloaded. The weights are far larger
than a usual initialisation, and norms and biases are perturbed too, so that attention is not
flat, predictions vary between items, and a parameter left out somewhere shows in the result.
"""

import copy
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SiglipVisionConfig,
)

ARCHITECTURES = ("llama", "mistral", "qwen2", "gemma2", "gpt2")
# Models for text and images, whose text part is a Llama, a Qwen2 and a Gemma 3.
WRAPPERS = ("llava", "qwen2_vl", "gemma3")
# For tests that take long on each: `make test-fast` runs them on the first alone.
ONE_FAST = [
    pytest.param(arch, marks=pytest.mark.slow if arch != "llama" else ()) for arch in ARCHITECTURES
]
N_BLOCKS = 4
D_MODEL = 48
SLIDING_WINDOW = 16
MAX_POSITIONS = 1024
BOS, EOS, PAD = "<s>", "</s>", "<pad>"

_ANIMALS = ("heron", "badger", "otter", "magpie", "newt", "lynx", "mole", "plaice")
_PLACES = ("under the bridge", "by the mill", "in the reeds", "on the roof", "near the barn")
_FOODS = ("small fish", "acorns and roots", "river snails", "old bread", "beetles", "clover")
_OPENINGS = (
    "Where does the {animal} sleep?",
    "The {animal} sat {place} all morning. What did it eat?",
    "It had rained for three days, and the {animal} {place} was hungry; what should it look for?",
    "Name what a {animal} leaves alone.",
)


def _corpus() -> list[str]:
    lines = [
        opening.format(animal=a, place=p)
        for opening in _OPENINGS
        for a in _ANIMALS
        for p in _PLACES
    ]
    lines += [f"It eats {food}, and it sleeps {place}." for food in _FOODS for place in _PLACES]
    # The tail of every prompt must cost fewer tokens than the sliding window: if all a window
    # holds is the tail, the first block's activations are the same for every question.
    lines += ["Respond with a single letter.\nAnswer:"] * 200
    # Every letter after a space, so that the merge is learnt.
    lines += [f"Is it {letter} or {letter}?" for letter in "ABCDEF" for _ in range(40)]
    return lines


@cache
def tiny_tokenizer(bos: bool = True, split_words: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 420 tokens.

    ``A`` to ``F`` are single tokens when bare and, with ``split_words``, after a space too.

    Args:
        bos: Put the BOS token in front of every text, as Llama's tokenizer does.
        split_words: False lets merges cross word boundaries, so the tokens of a question need
            not be a prefix of the tokens of question + choice.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=split_words
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )


def tokenizer_for(arch: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer, with a BOS where the real family's tokenizer adds one."""
    return tiny_tokenizer(bos=arch in ("llama", "mistral", "gemma2"))


def tiny_model(arch: str, seed: int = 0) -> Any:
    """A random fp32 causal LM in eval mode, sized for :func:`tokenizer_for`.

    Four blocks, d_model 48, four heads over two KV heads (GPT-2: four). Mistral's and every
    second Gemma-2 block attend to the last 16 tokens only; Gemma-2 soft-caps.

    Args:
        arch: One of :data:`ARCHITECTURES`.
        seed: Seed of all weights; the caller's random state is left alone.
    """
    tokenizer = tokenizer_for(arch)
    special: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    sizes: dict[str, Any] = {
        "hidden_size": D_MODEL,
        "intermediate_size": 96,
        "num_hidden_layers": N_BLOCKS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": 0.2,
    } | special
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if arch == "llama":
            model: Any = LlamaForCausalLM(LlamaConfig(**sizes))
        elif arch == "mistral":
            model = MistralForCausalLM(MistralConfig(**sizes, sliding_window=SLIDING_WINDOW))
        elif arch == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**sizes))
        elif arch == "gemma2":
            config = Gemma2Config(
                **sizes,
                head_dim=D_MODEL // 4,
                query_pre_attn_scalar=D_MODEL // 4,
                sliding_window=SLIDING_WINDOW,
                # Low enough that the caps bend the values.
                attn_logit_softcapping=5.0,
                final_logit_softcapping=10.0,
                attn_implementation="eager",
            )
            model = Gemma2ForCausalLM(config)
        elif arch == "gpt2":
            gpt2_config = GPT2Config(
                n_embd=D_MODEL,
                n_layer=N_BLOCKS,
                n_head=4,
                n_positions=MAX_POSITIONS,
                initializer_range=0.25,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                **special,
            )
            model = GPT2LMHeadModel(gpt2_config)
        else:
            raise ValueError(f"no tiny model for {arch!r}; there is one for {ARCHITECTURES}")
        return _perturbed(model).float().eval()


def _perturbed(model: Any) -> Any:
    """Change the norms and biases, which are all alike at first."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def save_tiny(arch: str, folder: Path, seed: int = 0, chat_template: str | None = None) -> Path:
    """Write the tiny model (safetensors) and its tokenizer to ``folder`` in hub format.

    Args:
        arch: One of :data:`ARCHITECTURES` or :data:`WRAPPERS`.
        folder: Where to.
        seed: Seed of all weights.
        chat_template: Of the tokenizer; none for a wrapper.
    """
    if arch in WRAPPERS:
        return _save_wrapper(arch, folder)
    folder.mkdir(parents=True, exist_ok=True)
    tiny_model(arch, seed).save_pretrained(folder)
    tokenizer = copy.deepcopy(tokenizer_for(arch))
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return folder


def toy_questions(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """``n`` questions: id, question, choices (2 to 5 distinct texts), label, fact (or None).

    Lengths differ, about a quarter carries a fact, and every prompt is longer than the sliding
    window of the tiny models.
    """
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        opening, animal, place = rng.choice(_OPENINGS), rng.choice(_ANIMALS), rng.choice(_PLACES)
        choices = rng.sample([*_FOODS, *_PLACES], rng.randint(2, 5))
        rows.append(
            {
                "id": f"toy-{seed}-{i}",
                "question": opening.format(animal=animal, place=place),
                "choices": tuple(choices),
                "label": rng.randrange(len(choices)),
                "fact": f"a {animal} eats {rng.choice(_FOODS)}" if rng.random() < 0.25 else None,
            }
        )
    return rows


def _sizes(**more: Any) -> dict[str, Any]:
    """Sizes of a small language model within a model for text and images."""
    tokenizer = tokenizer_for("llama")
    return {
        "vocab_size": len(tokenizer) + 8,  # the last ones stand for parts of images
        "hidden_size": D_MODEL,
        "intermediate_size": 96,
        "num_hidden_layers": N_BLOCKS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": 0.2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    } | more


_EYE = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 8, "patch_size": 4,
}  # fmt: skip


def _save_wrapper(kind: str, folder: Path) -> Path:
    image = len(tokenizer_for("llama")) + 1
    if kind == "llava":
        text = LlamaConfig(**_sizes())
        config: Any = LlavaConfig(
            text_config=text, vision_config=CLIPVisionConfig(**_EYE), image_token_id=image
        )
        make: Any = LlavaForConditionalGeneration
    elif kind == "qwen2_vl":
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
        config = Qwen2VLConfig(
            text_config=_sizes(rope_parameters=rope),
            vision_config={"depth": 1, "embed_dim": 16, "hidden_size": D_MODEL, "num_heads": 2},
            image_token_id=image, video_token_id=image + 1,
            vision_start_token_id=image + 2, vision_end_token_id=image + 3,
        )  # fmt: skip
        make = Qwen2VLForConditionalGeneration
    else:
        config = Gemma3Config(
            text_config=Gemma3TextConfig(
                **_sizes(head_dim=12, query_pre_attn_scalar=12, sliding_window=SLIDING_WINDOW)
            ),
            vision_config=SiglipVisionConfig(**_EYE), mm_tokens_per_image=4,
            image_token_index=image, boi_token_index=image + 1, eoi_token_index=image + 2,
        )  # fmt: skip
        make = Gemma3ForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _perturbed(make(config)).save_pretrained(folder)
    tokenizer_for("llama").save_pretrained(folder)
    return folder
