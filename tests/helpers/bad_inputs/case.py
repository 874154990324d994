"""One bad input, and where its files are made."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.helpers.data_files import write_toy

NAME = "pas-tiny-llama-toy"  # the vector that the home has, with one version


@dataclass(frozen=True)
class Place:
    """Where a case writes what it gives.

    Attributes:
        folder: Empty, for the case alone.
        model: A tiny model; cases copy it before they change it.
        home: A home with a trained vector; cases must leave it as it is.
    """

    folder: Path
    model: Path
    home: Path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def toy(self, **changes: object) -> Path:
        """Write toy questions; `changes` replace fields of row 7."""
        return write_toy(self.folder / "toy.jsonl", **changes)

    def lines(self, *rows: object) -> Path:
        """Write rows as JSON lines."""
        return self.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def copy_of_model(self) -> Path:
        """A copy of the model, to damage."""
        return Path(shutil.copytree(self.model, self.folder / "model"))

    def train(self, data: object, *options: object) -> list[object]:
        """The command that trains on data."""
        return ["train", "--task", "toy", "--model", self.model, "--data", data, *options]

    def option(self, *options: object) -> list[object]:
        """The command that trains on good data with other options."""
        return self.train(self.toy(), *options)


class Case(NamedTuple):
    """A bad input.

    Attributes:
        command: Makes the files and returns the arguments of `pas`.
        words: What the message must name: the place and the remedy.
        environment: Variables to set; `{home}` and `{folder}` stand for the folders of the place.
        begins: Whether it is noticed at work: what was computed before stays in the lake.
    """

    command: Callable[[Place], Sequence[object]]
    words: tuple[str, ...]
    environment: Mapping[str, str] = {}
    begins: bool = False
