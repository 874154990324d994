"""A Llama as a GGUF file, in the layout of llama.cpp's own converter."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from transformers import LlamaConfig, LlamaForCausalLM

from tests.helpers.tiny_models import tiny_tokenizer

HEADS, KV_HEADS, WIDTH, INNER, BLOCKS, WINDOW = 4, 2, 64, 128, 2, 512
_PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
_ENDS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "lm_head.weight": "output.weight",
    "model.norm.weight": "output_norm.weight",
}


def small_llama(blocks: int = BLOCKS) -> LlamaForCausalLM:
    """A random model whose rows are whole blocks of every quantisation."""
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer()), hidden_size=WIDTH, intermediate_size=INNER,
        num_hidden_layers=blocks, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
        max_position_embeddings=WINDOW, initializer_range=0.2, bos_token_id=0, eos_token_id=1,
        pad_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def write_gguf(
    path: Path, model: Any, kind: GGMLQuantizationType, tokenizer: Any = None, pre: str = "default"
) -> Path:
    """Write the weights, matrices in the given type, and a byte-level tokenizer without a BOS.

    Args:
        path: The file.
        model: A Llama.
        kind: Type of the matrices.
        tokenizer: Of transformers; the tiny one if None, whose first three tokens are special.
        pre: llama.cpp's name of how the tokenizer splits a text.
    """
    config = model.config
    writer, tokenizer = GGUFWriter(str(path), "llama"), tokenizer or tiny_tokenizer(bos=False)
    special = {*tokenizer.all_special_ids, *range(3)}
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types([3 if i in special else 1 for i in range(len(tokenizer))])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    tied = config.tie_word_embeddings
    for name, weight in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        values = _permuted(name, weight.numpy(), heads, kv_heads)
        if values.ndim == 1:
            writer.add_tensor(_name(name), values)
        else:
            writer.add_tensor(_name(name), quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _name(name: str) -> str:
    if name in _ENDS:
        return _ENDS[name]
    _, _, block, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{block}.{_PARTS[part]}.weight"


def _permuted(name: str, values: np.ndarray, heads: int, kv_heads: int) -> np.ndarray:
    """llama.cpp turns pairs of neighbours, transformers the halves of a head."""
    turned = heads if "q_proj" in name else kv_heads if "k_proj" in name else 0
    if not turned:
        return values
    pairs = values.reshape(turned, 2, values.shape[0] // turned // 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))
