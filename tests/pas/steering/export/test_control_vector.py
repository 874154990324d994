import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader

from pas.errors import UserError
from pas.models.loading import LoadedModel, load_model
from pas.models.spec import ModelSpec
from pas.steering.export.control_vector import read_control_vector
from pas.steering.export.formats import export
from tests.helpers.exported import log_probabilities, vector_for
from tests.helpers.gguf_files import small_llama, write_gguf
from tests.helpers.llama_cpp import LlamaCpp

BLOCKS = 4
EXACT = 1e-4  # of log probabilities; they agree to 1e-5


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_gguf(file, small_llama(BLOCKS), GGMLQuantizationType.F32)


@pytest.fixture(scope="module")
def model(file: Path) -> LoadedModel:
    return load_model(ModelSpec(str(file), device="cpu"), file.parent / "cache")


def test_the_file_has_the_strength_in_its_numbers_and_says_so(tiny: Any, tmp_path: Path) -> None:
    model = tiny("llama")
    vector = vector_for(model, 2)
    made = export(vector, "gguf", tmp_path / "v.gguf", strength=2.0)
    assert read_control_vector(made.path).keys() == {2}
    assert np.array_equal(read_control_vector(made.path)[2], np.float32(2) * vector.direction)
    assert GGUFReader(made.path).get_field("controlvector.model_hint").contents() == "llama"
    notes = json.loads((tmp_path / "v.gguf.json").read_text())
    [one] = notes["vectors"]
    assert (one["layer"], one["site"], one["strength"]) == (2, "residual", 2.0)
    assert notes["positions"] == "all" and 'positions="all"' in notes["differences"][0]


@pytest.mark.parametrize(
    ("layer", "site", "to", "words"),
    [(0, "residual", "gguf", "cannot steer block 0"), (1, "mlp", "gguf", "site mlp"),
     (1, "attention", "repeng", "site attention")],
)  # fmt: skip
def test_what_llama_cpp_cannot_do_is_refused_and_nothing_is_written(
    tiny: Any, tmp_path: Path, layer: int, site: Any, to: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        export(vector_for(tiny("llama"), layer, site), to, tmp_path / "v.gguf")
    assert not any(tmp_path.iterdir())


def test_repeng_has_a_block_0(tiny: Any, tmp_path: Path) -> None:
    export(vector_for(tiny("llama"), 0), "repeng", tmp_path / "v.gguf")
    assert read_control_vector(tmp_path / "v.gguf").keys() == {0}


@pytest.mark.exports
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_llama_cpp_steers_token_by_token_as_we_do_at_every_position(
    file: Path, model: LoadedModel, tmp_path: Path, layer: int
) -> None:
    vector = vector_for(model, layer, strength=0.7)
    made = export(vector, "gguf", tmp_path / "v.gguf")
    tokenizer, vocabulary = model.tokenizer, model.model.config.vocab_size
    # llama-server tells nothing of tokens that are a part of a character.
    whole = [i for i in range(3, vocabulary) if tokenizer.decode([i]).isascii()]
    whole = [i for i in whole if tokenizer.decode([i]).isprintable()]
    banned = sorted({*range(vocabulary)} - {*whole})
    server = LlamaCpp(file, "--control-vector", str(made.path), vocabulary=vocabulary)
    tokens = tokenizer("Where does the heron sleep?").input_ids
    for _ in range(12):
        step = server.next(tokens, banned)
        ours = log_probabilities(model.model, tokens, vector)[-1]
        assert abs(step.log_probabilities - ours).max() < EXACT
        ours[banned] = -np.inf
        assert step.token == int(ours.argmax())
        for wrong in ({"layer": layer - 1}, {"layer": (layer + 1) % BLOCKS}, {"strength": 0.77}):
            other = log_probabilities(model.model, tokens, vector, **wrong)[-1]
            assert abs(step.log_probabilities - other).max() > 50 * EXACT, wrong
        tokens.append(step.token)


@pytest.mark.exports
def test_llama_cpp_steers_the_demo_model_as_we_do(smollm: LoadedModel, tmp_path: Path) -> None:
    tokenizer, vocabulary = smollm.tokenizer, smollm.model.config.vocab_size
    kind = GGMLQuantizationType.F32
    file = write_gguf(tmp_path / "demo.gguf", smollm.model, kind, tokenizer, "smollm")
    vector = vector_for(smollm, 14, strength=0.6)
    made = export(vector, "gguf", tmp_path / "v.gguf")
    server = LlamaCpp(file, "--control-vector", str(made.path), vocabulary=vocabulary)
    tokens = tokenizer("The weather in the mountains was").input_ids
    for _ in range(16):
        step = server.next(tokens)
        ours = log_probabilities(smollm.model, tokens, vector)[-1]
        likely = ours > -12
        assert abs(step.log_probabilities - ours)[likely].max() < 1e-2
        assert step.token == int(ours.argmax())
        for wrong in ({"layer": 13}, {"layer": 15}, {"strength": 0.66}):
            other = log_probabilities(smollm.model, tokens, vector, **wrong)[-1]
            assert abs(step.log_probabilities - other)[likely].max() > 2e-2, wrong
        tokens.append(step.token)
