"""Files of `torch.save` with tensors and plain values alone, which `weights_only=True` reads."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from pas.files import write_whole
from pas.steering.export.additions import Numbers


def write_torch(out: Path, content: Any) -> None:
    """Write tensors in plain dictionaries and lists."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(out, buffer.getbuffer())


def read_torch(file: Path) -> Any:
    """Read what `write_torch` and programs like it write. No code in the file is run.

    Raises:
        ValueError: If it is damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it is damaged, or holds more than tensors and plain values, which could run code, so "
            "it is not loaded"
        ) from error
    except OSError:
        raise
    except Exception as error:  # the reader raises what it meets in a damaged file
        raise ValueError(f"it is no whole file of torch.save ({error})") from error


def numbers_of(name: str, tensor: Any) -> Numbers:
    """Return a tensor's numbers as float32.

    Args:
        name: Of the tensor, for the message.
        tensor: What the file has there.

    Raises:
        ValueError: If it is no tensor of floating-point numbers.
    """
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        raise ValueError(f"{name or 'it'} is no tensor of floating-point numbers")
    return tensor.detach().to(torch.float32).numpy()
