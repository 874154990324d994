"""Two devices on a machine that has only a CPU, for models that are spread over several devices.

Torch keeps no number of a CPU, so "cpu:0" and "cpu:1" are one device. The tensors here say that
they are on "lazy:0" or "lazy:1", which torch knows by name and builds nothing for. Their values
are computed on the CPU. As with two GPUs, an operation on tensors of two devices is an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from pas.models.sites import decoder_blocks, final_norm

FIRST, SECOND = torch.device("lazy:0"), torch.device("lazy:1")
_CPU = torch.device("cpu")


class _Placed(torch.Tensor):
    """A tensor on the CPU that says that it is on another device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device) -> "_Placed":
        options = {"strides": inner.stride(), "dtype": inner.dtype, "device": device}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, **options)
        made.inner = inner
        return made

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    """Sends operations that have no pretended tensor, such as torch.zeros, through `_run`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Makes tensors of lists, which torch.tensor makes without an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and "device" in kwargs:
            return func(*args, **kwargs | {"device": _CPU}).to(kwargs["device"])
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    asked = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    moves = str(func).startswith(("aten.to.", "aten._to_copy", "aten.copy_"))
    # One number, and indices, may be on the CPU.
    free = "index" in str(func)
    places = {t.device for t in tensors if t.device != _CPU or (t.dim() and not free)}
    if len(places) > 1 and not moves:
        raise RuntimeError(f"{func}: tensors on {sorted(map(str, places))}")
    place = next(iter([*asked, *(t.device for t in tensors[:moves]), *places]), _CPU)
    args, kwargs = tree_map(_real, (args, kwargs))
    made = func(*args, **kwargs)
    if place == _CPU:
        return made
    return tree_map(lambda v: _Placed(v, place) if isinstance(v, torch.Tensor) else v, made)


def _real(value: Any) -> Any:
    if isinstance(value, _Placed):
        return value.inner
    return _CPU if isinstance(value, torch.device) else value


class _Moving(AlignDevicesHook):
    """Moves the inputs of a module to its device, as for a model that accelerate spreads."""

    def init_hook(self, module: nn.Module) -> nn.Module:
        return module


@contextmanager
def spread(model: Any) -> Iterator[None]:
    """Within the context, the first half of the blocks is on `FIRST`, what follows on `SECOND`.

    Args:
        model: A transformers model on the CPU; it stays spread.
    """
    blocks = decoder_blocks(model)
    late = [*blocks[len(blocks) // 2 :], final_norm(model), model.get_output_embeddings()]
    second = {part for module in late for part in module.modules()}
    for module in model.modules():
        place = SECOND if module in second else FIRST
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(_Placed(weight.data, place), False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else _Placed(buffer, place)
    leaves = [m for m in model.modules() if m in blocks or not any(m.children())]
    for module in {*late, *blocks, *(m for m in leaves if m not in second)}:
        place = SECOND if module in second else FIRST
        add_hook_to_module(module, _Moving(execution_device=place))
    add_hook_to_module(model, _Moving(execution_device=FIRST, io_same_device=True))
    with _Operations(), _Literals():
        yield
