import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pas.errors import UserError
from pas.models.loading import LoadedModel
from pas.steering.export.formats import export
from pas.steering.intervention import Composition, Intervention
from tests.helpers.exported import vector_for

PLACES = (("llama", 2, "residual"), ("gpt2", 1, "attention"), ("gemma2", 3, "mlp"))
EXACT = 1e-3  # of a log-likelihood of some tokens
ROWS = [
    {"question": f"The {animal} sat {place} all morning. What did it eat?",
     "choices": ["small fish", "old bread", "acorns and roots"], "answer": number % 3}
    for number, (animal, place) in enumerate(
        [("heron", "by the mill"), ("newt", "in the reeds"), ("otter", "near the barn")])
]  # fmt: skip
TASK = {
    "task": "meals", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
    "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}",
    "target_delimiter": " ", "metric_list": [{"metric": "acc"}],
}  # fmt: skip


def read(file: Path) -> dict[str, dict[str, Any]]:
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(("arch", "layer", "site"), PLACES)
def test_the_file_names_the_module_and_has_the_strength_apart(
    tiny: Any, tmp_path: Path, arch: str, layer: int, site: Any
) -> None:
    model = tiny(arch)
    vector = vector_for(model, layer, site)
    made = export(vector, "lm-eval", tmp_path / "v.pt")
    [(name, entry)] = read(made.path).items()
    names = {"llama": "layers.2", "gpt2": "h.1.attn", "gemma2": "layers.3.mlp"}
    assert name == names[arch] and name in made.notes["hook_point"]
    assert np.array_equal(entry["steering_vector"], vector.direction)
    assert (entry["steering_coefficient"], entry["action"]) == (vector.strength, "add")


def test_vectors_in_one_place_are_added_up(tiny: Any, tmp_path: Path) -> None:
    one, two = (vector_for(tiny("llama"), 1, seed=seed) for seed in (1, 2))
    both = Composition((Intervention(one, 2.0), Intervention(two, -1.0)))
    entry = read(export(both, "lm-eval", tmp_path / "v.pt").path)["layers.1"]
    assert np.allclose(entry["steering_vector"], 2 * one.direction - two.direction)
    assert entry["steering_coefficient"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [([{"operation": "add-keep-norm"}], "lm-eval cannot add-keep-norm"),
     ([{"operation": "ablate", "strength": 0.5}], "cannot ablate with strength 0.5"),
     ([{"operation": "clamp"}, {}], "several vectors in one place, cannot clamp"),
     ([{"positions": "prompt"}], "steer every position"),
     ([{"strength": (1.0, 2.0)}], "single rows")],
)  # fmt: skip
def test_what_lm_eval_cannot_do_is_refused(
    tiny: Any, tmp_path: Path, changes: list[dict[str, Any]], words: str
) -> None:
    vector = vector_for(tiny("llama"), 1)
    steering = Composition(tuple(Intervention(vector, **change) for change in changes))
    with pytest.raises(UserError, match=words):
        export(steering, "lm-eval", tmp_path / "v.pt")
    assert not any(tmp_path.iterdir())


@pytest.mark.exports
@pytest.mark.parametrize(("arch", "layer", "site"), PLACES)
def test_lm_eval_finds_the_likelihoods_that_we_find_at_every_position(
    tiny: Callable[..., LoadedModel], tmp_path: Path, arch: str, layer: int, site: Any
) -> None:
    model = tiny(arch)
    vector = vector_for(model, layer, site, strength=0.8)
    made = export(vector, "lm-eval", tmp_path / "v.pt")
    if arch == "llama":
        assert np.allclose(run("hf", model, tmp_path), likelihoods(model), atol=EXACT)
    found = run("steered", model, tmp_path, f",steer_path={made.path}")
    with vector.on(model, positions="all"):
        assert np.allclose(found, likelihoods(model), atol=EXACT)
    for wrong in (vector_for(model, layer - 1, site, 0.8), vector_for(model, layer, site, 0.88)):
        with wrong.on(model, positions="all"):
            assert abs(found - likelihoods(model)).max() > 20 * EXACT


@pytest.mark.exports
def test_lm_eval_clamps_and_ablates_as_we_do(
    tiny: Callable[..., LoadedModel], tmp_path: Path
) -> None:
    model = tiny("llama")
    steering = Composition((
        Intervention(vector_for(model, 1, seed=1), 0.5, "all", "clamp"),
        Intervention(vector_for(model, 2, seed=2), 1.0, "all", "ablate"),
    ))  # fmt: skip
    made = export(steering, "lm-eval", tmp_path / "v.pt")
    assert made.notes["differences"] == []
    found = run("steered", model, tmp_path, f",steer_path={made.path}")
    with steering.on(model):
        assert np.allclose(found, likelihoods(model), atol=EXACT)
    assert abs(found - likelihoods(model)).max() > 20 * EXACT


def run(kind: str, model: LoadedModel, folder: Path, arguments: str = "") -> np.ndarray:
    """lm-eval's log-likelihoods, [items, choices], from its own command line."""
    data = folder / "meals.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    task = TASK | {"dataset_kwargs": {"data_files": {"test": str(data)}}}
    (folder / "meals.yaml").write_text(yaml.safe_dump(task))
    command = [
        "-m", "lm_eval", "run", "--model", kind, "--tasks", "meals", "--device", "cpu",
        "--model_args", f"pretrained={model.spec.id},dtype=float32{arguments}",
        "--include_path", str(folder), "--log_samples", "--output_path", str(folder / kind),
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, *command], env=os.environ | offline, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [samples] = (folder / kind).rglob("samples_meals*.jsonl")
    rows = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda row: row["doc_id"])
    return np.array([[float(answer[0]) for answer in row["filtered_resps"]] for row in rows])


def likelihoods(model: LoadedModel) -> np.ndarray:
    """Log-likelihoods of the choices after the questions, [items, choices]."""

    @torch.no_grad()
    def of(question: str, choice: str) -> float:
        start = len(model.tokenizer(question).input_ids)
        ids = torch.tensor([model.tokenizer(f"{question} {choice}").input_ids])
        scores = model.model(ids).logits[0, start - 1 : -1].log_softmax(-1)
        return float(scores.gather(1, ids[0, start:, None]).sum())

    return np.array([[of(row["question"], choice) for choice in row["choices"]] for row in ROWS])
