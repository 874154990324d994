"""Times of the device's kernels: matrix products, attention backends, shares of a profile."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from statistics import median
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import work
from benchmarks.gpu_model import EngineInputs, seconds
from pas.engine.passes import groups_of
from pas.engine.trie import lay_out, packs
from pas.models.loading import LoadedModel
from pas.models.sites import decoder_blocks

# Attention kernels, and operators that only our attention function calls in a Llama.
_ATTENTION = ("bmm", "attention", "softmax", "exp_", "sub_", "amax", "aten::sum", "masked_fill")
_PRODUCTS = ("aten::mm", "aten::addmm", "aten::linear", "aten::matmul")


@torch.inference_mode()
def products(model: LoadedModel, rows: int, square: int, spend: float = 0.2) -> dict[str, float]:
    """Return TFLOP/s of the model's matrix products at `rows` tokens, and of a large square."""
    rates = {}
    for m, k, n in [*work.matmul_shapes(model, rows)[:-1], (square, square, square)]:
        left = torch.randn(m, k, device=model.device, dtype=model.model.dtype)
        weight = torch.randn(n, k, device=model.device, dtype=model.model.dtype)

        def run(left: torch.Tensor = left, weight: torch.Tensor = weight, times: int = 1) -> None:
            for _ in range(times):
                torch.nn.functional.linear(left, weight)

        seconds(run, model.device)
        once = seconds(run, model.device)
        times = max(1, min(200, int(spend / once)))
        taken = seconds(lambda run=run, times=times: run(times=times), model.device)
        rates[f"{m}x{k} . {k}x{n}"] = 2 * m * k * n * times / taken / 1e12
    return rates


def profiled(run: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Return the time by operator and by kernel, and the time the device waits for the host."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    run()
    plain = seconds(run, device)
    cuda = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=kinds) as found:
        seconds(run, device)
    events = found.key_averages()

    def cost(event: Any) -> float:
        return (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6

    operators = [e for e in events if e.device_type == DeviceType.CPU and e.key.startswith("aten")]
    shares = {"products": 0.0, "attention": 0.0, "other": 0.0}
    for event in operators:
        attends = any(word in event.key for word in _ATTENTION)
        kind = "attention" if attends else "products" if event.key in _PRODUCTS else "other"
        shares[kind] += cost(event)
    kernels = [e for e in events if e.device_type == DeviceType.CUDA] if cuda else operators
    busy = sum(map(cost, kernels))
    lines = [{"part": kind, "share": value / busy} for kind, value in shares.items()]
    top = {
        name: [
            {"name": e.key[:150], "s": cost(e), "share": cost(e) / busy, "calls": e.count}
            for e in sorted(chosen, key=cost, reverse=True)[:15]
        ]
        for name, chosen in (("operators", operators), ("kernels", kernels))
    }
    lines += [{"part": line["name"][:70], **line} for line in top["kernels"]]
    return {
        "seconds": plain,
        "busy": busy,
        "idle share": max(0.0, 1 - busy / plain),
        "table": [
            {"part": "idle, of the whole", "share": max(0.0, 1 - busy / plain)},
            *({k: v for k, v in line.items() if k != "name"} for line in lines),
        ],
        **top,
    }


@torch.inference_mode()
def attention(model: LoadedModel, drawn: EngineInputs, budget: int) -> dict[str, Any]:
    """Time the prefill's attention on one real pack, in one block, with several kernels.

    `flash, ragged` runs the whole pack in one call. A span's tokens attend to the span's path up to
    themselves, which is the causal mask that ends at the last query and the last key.
    """
    device, dtype, config = model.device, model.model.dtype, model.model.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    width = config.hidden_size // heads
    cut = next(packs([[ids] for ids in drawn.sequences], budget))
    pack = lay_out([drawn.sequences[i] for i in cut.units])
    groups = groups_of(pack, device)
    n, share = len(pack.tokens), heads // kv_heads
    query = torch.randn(n, heads, width, device=device, dtype=dtype) * width**-0.5
    key, value = (torch.randn(n, kv_heads, width, device=device, dtype=dtype) for _ in range(2))
    sees = torch.ones(len(pack.depths), len(pack.depths), dtype=torch.bool, device=device).tril()
    masks = [sees[g.depths][:, None, :, : g.keys.shape[1]] for g in groups]
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def taken(group: Any) -> tuple[torch.Tensor, ...]:
        found = ((query, group.queries), (key, group.keys), (value, group.keys))
        return tuple(
            part.index_select(0, at.flatten()).view(*at.shape, *part.shape[1:]).transpose(1, 2)
            for part, at in found
        )

    def grouped() -> Any:
        return [
            sdpa(*taken(g), attn_mask=m, scale=1.0, enable_gqa=share > 1)
            for g, m in zip(groups, masks, strict=True)
        ]

    def expanded() -> Any:
        found = []
        for g, m in zip(groups, masks, strict=True):
            asked, *kept = taken(g)
            more = (part.repeat_interleave(share, dim=1) for part in kept)
            found.append(sdpa(asked, *more, attn_mask=m, scale=1.0))
        return found

    queries = torch.tensor([0, *(s.stop - s.start for s in pack.spans)], device=device)
    keys = torch.tensor([0, *(len(s.path) for s in pack.spans)], device=device)
    path = torch.cat([torch.from_numpy(s.path) for s in pack.spans]).to(device)
    ends = [lengths.cumsum(0, dtype=torch.int32) for lengths in (queries, keys)]
    longest = int(queries.max()), int(keys.max())

    def ragged() -> Any:
        kept = (part.index_select(0, path) for part in (key, value))
        return torch.ops.aten._flash_attention_forward(
            query, *kept, *ends, *longest, 0.0, True, False, scale=1.0
        )[0]

    tried: dict[str, Callable[[], Any]] = {
        "as it is": grouped,
        "efficient, heads repeated": expanded,
        "math": grouped,
        "cudnn": grouped,
        "flash, ragged": ragged,
    }
    forced = {
        "efficient, heads repeated": SDPBackend.EFFICIENT_ATTENTION,
        "math": SDPBackend.MATH,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
    }
    choice = torch._fused_sdp_choice(*taken(groups[0]), attn_mask=masks[0], enable_gqa=share > 1)
    lines = []
    for name, run in tried.items():
        try:
            with sdpa_kernel(forced[name]) if name in forced else nullcontext():
                first = seconds(run, device)
                again = median(seconds(run, device) for _ in range(5))
        except (RuntimeError, NotImplementedError) as error:
            lines.append({"attention": name, "refused": str(error).splitlines()[0][:100]})
            continue
        lines.append({"attention": name, "ms": again * 1e3, "first ms": first * 1e3})
    if "ms" in lines[-1]:
        flat = ragged()
        error = max(
            float(
                (flat[g.queries.flatten()[g.real]] - read.transpose(1, 2).flatten(0, 1)[g.real])
                .abs()
                .max()
            )
            for g, read in zip(groups, grouped(), strict=True)
        )
        lines[-1]["off by"] = error
    return {
        "tokens": n,
        "groups": [[*g.queries.shape, g.keys.shape[1]] for g in groups],
        "chosen by torch": SDPBackend(choice).name,
        "table": lines,
        "cudnn": torch.backends.cudnn.version(),
    }


@torch.inference_mode()
def row_attention(
    model: LoadedModel, drawn: EngineInputs, rows: int, row_budget: int
) -> dict[str, Any]:
    """Time the walk's attention at its real size, in one block: ours, and with a fused kernel.

    The fused kernel also returns the logarithm of its sum, so its result over the prefix can be
    combined with each row's own token.
    """
    device, dtype, config = model.device, model.model.dtype, model.model.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    width, share = config.hidden_size // heads, heads // kv_heads
    items = max(1, min(len(drawn.questions), row_budget // rows))
    lengths = [len(ids) - 1 for ids in drawn.asked[:items]]
    real = torch.tensor([[k < n for k in range(max(lengths))] for n in lengths], device=device)

    def made(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device, dtype=dtype)

    query = made(items, kv_heads, share, rows, 1, width) * width**-0.5
    own_key, own_value = (made(items, kv_heads, 1, rows, 1, width) for _ in range(2))
    far_key, far_value = (made(items, kv_heads, max(lengths), width) for _ in range(2))
    ends = torch.arange(items + 1, dtype=torch.int32, device=device) * rows
    stops = torch.tensor([0, *lengths], device=device).cumsum(0, dtype=torch.int32)

    def as_it_is() -> torch.Tensor:
        flat = query.reshape(items, kv_heads, share * rows, width)
        far = (flat @ far_key.mT).float().masked_fill_(~real[:, None, None], -1e30)
        own = (query * own_key).sum(dim=-1).float().view(*flat.shape[:-1], 1)
        top = torch.maximum(far.amax(dim=-1, keepdim=True), own)
        far, own = far.sub_(top).exp_(), own.sub_(top).exp_()
        mixed = (far.to(dtype) @ far_value).view(query.shape)
        mixed = mixed + own.to(dtype).view(*query.shape[:-1], 1) * own_value
        return (mixed / (far.sum(dim=-1, keepdim=True) + own).view(*query.shape[:-1], 1)).to(dtype)

    def ragged() -> torch.Tensor:
        flat = query.permute(0, 3, 4, 1, 2, 5).reshape(items * rows, heads, width)
        kept = (part.transpose(1, 2)[real] for part in (far_key, far_value))
        read, total, *_ = torch.ops.aten._flash_attention_forward(
            flat, *kept, ends, stops, rows, max(lengths), 0.0, False, False, scale=1.0
        )
        own = (query * own_key).sum(dim=-1, keepdim=True).float()
        by_row = own.permute(0, 3, 4, 1, 2, 5).reshape(items * rows, heads, 1)
        value = own_value.expand(query.shape).permute(0, 3, 4, 1, 2, 5).reshape(read.shape)
        joined = torch.lerp(read, value, torch.sigmoid(by_row - total.mT[..., None]).to(dtype))
        return joined.view(items, rows, 1, kv_heads, share, width).permute(0, 3, 4, 1, 2, 5)

    lines: list[dict[str, Any]] = []
    for name, run in {"as it is": as_it_is, "flash, ragged": ragged}.items():
        try:
            first = seconds(run, device)
            again = median(seconds(run, device) for _ in range(5))
        except (RuntimeError, NotImplementedError) as error:
            lines.append({"attention": name, "refused": str(error).splitlines()[0][:100]})
            continue
        lines.append({"attention": name, "ms": again * 1e3, "first ms": first * 1e3})
    if "ms" in lines[-1]:
        lines[-1]["off by"] = float((as_it_is() - ragged()).abs().max())
    return {"items": items, "rows": rows, "keys": max(lengths), "table": lines}


@torch.inference_mode()
def fused(model: LoadedModel, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Time a block without its attention: eager, compiled, and replayed as a CUDA graph."""
    block: Any = decoder_blocks(model.model)[0]

    def half(hidden: torch.Tensor) -> torch.Tensor:
        return hidden + block.mlp(block.post_attention_layernorm(hidden))

    lines = []
    for rows in sizes:
        shape = 1, rows, model.info.d_model
        hidden = torch.randn(shape, device=model.device, dtype=model.model.dtype)
        line: dict[str, Any] = {"rows": rows}
        for name, run in (("eager", half), ("compiled", torch.compile(half, dynamic=False))):
            try:
                for _ in range(3):
                    run(hidden)
                line[f"{name} ms"] = 1e3 * median(
                    seconds(lambda run=run, x=hidden: [run(x) for _ in range(20)], model.device)
                    / 20
                    for _ in range(5)
                )
            except Exception as error:  # the compiler may fail in many ways
                line[f"{name} ms"], line[f"{name} failed"] = None, str(error)[:200]
        if model.device.type == "cuda":
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                half(hidden)
            line["graph ms"] = 1e3 * median(
                seconds(lambda graph=graph: [graph.replay() for _ in range(20)], model.device) / 20
                for _ in range(5)
            )
        lines.append(line)
    return lines
