"""The package `steering-vectors`, in this process or in an environment of its own.

It requires transformers < 5, which it imports for one type name only. There are two ways to run it.
It can be installed without its dependencies in a folder on PYTHONPATH, and runs on our own model
object. Or it has an environment of its own, in which a worker process runs it. This module is
imported there too, so it must not import `pas`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

INSTALL = "pip install --no-deps --target .bench steering-vectors==0.12.2; PYTHONPATH=.bench"
BATCH_SIZES = (1, 8, 16)
Pairs = Sequence[tuple[str, str]]  # (positive, negative)
Vectors = dict[tuple[str, int], np.ndarray]


class Peer(Protocol):
    """The interface of both ways."""

    where: str

    def extraction(
        self, pairs: Mapping[str, Pairs], layers: Sequence[int], batch_size: int
    ) -> Vectors:
        """Vectors [d_model] by (method, block)."""

    def sweep(
        self, texts: Sequence[str], letters: Sequence[int], rows: Sequence[Any], batch_size: int
    ) -> np.ndarray:
        """Logits [texts, rows, letters]; a row is (block, delta [d_model]), or None: unsteered."""


class Here:
    """The package in this process, on the model object that `pas` runs."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.where = (
            f"steering-vectors {version('steering-vectors')} with transformers "
            f"{version('transformers')}"
        )

    def extraction(
        self, pairs: Mapping[str, Pairs], layers: Sequence[int], batch_size: int
    ) -> Vectors:
        from steering_vectors import SteeringVectorTrainingSample, train_steering_vector

        found = {}
        for method, chosen in pairs.items():
            vector = train_steering_vector(
                self.model,
                self.tokenizer,
                [SteeringVectorTrainingSample(*p) for p in chosen],
                layers=list(layers),
                read_token_index=-1,
                batch_size=batch_size,
            )
            for layer, direction in vector.layer_activations.items():
                found[method, layer] = direction.double().numpy()
        return found

    @torch.no_grad()
    def sweep(
        self, texts: Sequence[str], letters: Sequence[int], rows: Sequence[Any], batch_size: int
    ) -> np.ndarray:
        from steering_vectors import SteeringVector

        found = np.empty((len(texts), len(rows), len(letters)))
        for column, row in enumerate(rows):
            vector = SteeringVector({} if row is None else {row[0]: row[1]})
            # The last position of left-padded prompts, as the method has it; by default the
            # package steers all of them.
            last = {"min_token_index": None, "token_indices": slice(-1, None)}
            with vector.apply(self.model, multiplier=1.0, **last):
                for start in range(0, len(texts), batch_size):
                    inputs = self.tokenizer(
                        list(texts[start : start + batch_size]),
                        return_tensors="pt",
                        padding=batch_size > 1,
                        padding_side="left",
                        return_token_type_ids=False,
                    )
                    logits = self.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
                    found[start : start + batch_size, column] = logits[:, list(letters)].numpy()
        return found


class Worker:
    """The package in another interpreter, over lines of JSON."""

    def __init__(self, python: Path, folder: Path) -> None:
        command = [str(python), "-m", "benchmarks.peer", "--worker", str(folder)]
        self.process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.where = self._ask({"do": "where"}) + ", a process of its own"

    def extraction(
        self, pairs: Mapping[str, Pairs], layers: Sequence[int], batch_size: int
    ) -> Vectors:
        found = self._ask(
            {"do": "extraction", "pairs": pairs, "layers": layers, "batch_size": batch_size}
        )
        return {(method, layer): np.array(values) for method, layer, values in found}

    def sweep(
        self, texts: Sequence[str], letters: Sequence[int], rows: Sequence[Any], batch_size: int
    ) -> np.ndarray:
        plain = [None if row is None else (row[0], row[1].tolist()) for row in rows]
        return np.array(
            self._ask(
                {
                    "do": "sweep",
                    "texts": texts,
                    "letters": letters,
                    "rows": plain,
                    "batch_size": batch_size,
                }
            )
        )

    def _ask(self, question: Mapping[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the peer's process ended; its message is above")
        return json.loads(line)


def connect(model: Any, tokenizer: Any, folder: Path, python: Path | None) -> Peer | None:
    """The package in its own environment if one is named, else here, else None."""
    if python is not None:
        return Worker(python, folder)
    return Here(model, tokenizer) if find_spec("steering_vectors") else None


def paired(sets: Mapping[str, tuple[list[str], list[str]]]) -> dict[str, list[tuple[str, str]]]:
    """Return contrast sets as pairs: the larger side is cut to the size of the smaller."""
    return {
        method: list(zip(positives, negatives, strict=False))
        for method, (positives, negatives) in sets.items()
    }


def _load(folder: Path) -> Here:
    """Read a folder that transformers 5 wrote with whichever version is here."""
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    disable_progress_bar()
    set_verbosity_error()
    config = AutoConfig.from_pretrained(folder)
    if int(version("transformers").split(".")[0]) < 5:
        # It would use the default base of the rotary embedding without a warning.
        config.rope_theta = config.rope_parameters["rope_theta"]
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32)
    return Here(model.eval(), PreTrainedTokenizerFast.from_pretrained(folder))


def _serve(folder: Path) -> None:
    """Answer every line of the input by one line."""
    here = _load(folder)
    for line in sys.stdin:
        asked = json.loads(line)
        kind = asked.pop("do")
        if kind == "where":
            answer: Any = here.where
        elif kind == "extraction":
            found = here.extraction(**asked)
            answer = [(method, layer, v.tolist()) for (method, layer), v in found.items()]
        else:
            rows = [
                None if row is None else (row[0], torch.tensor(row[1])) for row in asked["rows"]
            ]
            answer = here.sweep(**{**asked, "rows": rows}).tolist()
        print(json.dumps(answer), flush=True)


def main() -> None:
    """Say whether the package answers, here or there, and whether it answers as the model does."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peer",
        description=f"Check the peer package.\n\nBeside ours:\n  {INSTALL}\n"
        "Or in an environment of its own:\n  python3 -m venv .peer\n"
        "  .peer/bin/pip install torch==2.13.0 steering-vectors==0.12.2",
        epilog="example:\n  python -m benchmarks.peer --python .peer/bin/python",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--python", type=Path, help="interpreter of the peer's own environment")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _serve(options.worker)
        return
    from benchmarks.contenders import hooked_predict
    from benchmarks.material import asked, material
    from pas.engine.scoring import letter_tokens

    at = material()
    peer = connect(at.model.model, at.model.tokenizer, at.folder, options.python)
    if peer is None:
        raise SystemExit(f"not installed: {INSTALL}")
    items = asked(at.val[:4])
    letters = [ids[0] for ids in letter_tokens(at.model.info, 3, "bare")]
    plain = peer.sweep([item.text for item in items], letters, [None], 4)
    error = np.abs(plain - hooked_predict(at.model, items, 4)).max()
    print(f"{peer.where}: letter logits differ by {error:.1e} at most")


if __name__ == "__main__":
    main()
