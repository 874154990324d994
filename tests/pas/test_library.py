"""The method as a library runs without the packages of a pipeline."""

import sys
from pathlib import Path

import pytest

import pas
from pas.errors import UserError
from tests.helpers.absent_packages import PIPELINE, run_without
from tests.helpers.data_files import write_toy

pytestmark = pytest.mark.slow


_IN_MEMORY = """
import sys
import pas

data, folder = sys.argv[1:]
mapping = pas.DataMapping(group="topic", id="id")
split = pas.split(pas.read_examples(data, mapping))
model = pas.load_model(folder, cache_dir=__import__("pathlib").Path(folder).parent / "cache")
read = pas.answer_and_extract(model, split.train, layers=[1, 2])
swept = pas.sweep(model, split.val, pas.estimate(read), [0, 1, 4])
selection = pas.select(model, swept, max_kl=None)
evaluation = pas.test(model, split, swept, selection)
vector = pas.vector_of(model, swept, evaluation, task="toy")
vector.save(folder + "-vector")
vector = pas.SteeringVector.load(folder + "-vector")
print(evaluation.verdict.label, len(evaluation.random), evaluation.test.n)
print(repr(pas.generate(model, "The heron", vector, strength=2.0, max_new_tokens=5)))
"""


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_becomes_a_tested_vector_without_the_pipelines_packages(
    tmp_path: Path, tiny_folder: Path, suffix: str
) -> None:
    data = write_toy(tmp_path / "toy.jsonl", 60)
    if suffix == "csv":
        import pandas as pd

        frame = pd.read_json(data, lines=True)
        frame["choices"] = frame["choices"].map(lambda texts: str(texts).replace("'", '"'))
        data = tmp_path / "toy.csv"
        frame.to_csv(data, index=False)
    done = run_without(PIPELINE, _IN_MEMORY, str(data), str(tiny_folder))
    assert done.returncode == 0, done.stderr[-2000:]
    verdict, text = done.stdout.strip().splitlines()
    assert verdict == "not significant 10 10"
    assert len(text) > len("''")


def test_importing_the_package_loads_no_torch_and_every_name_is_there() -> None:
    code = (
        "import sys, pas\nfrom pas.errors import UserError\nfrom pas import split, DataMapping\n"
        "loaded = {'torch', 'transformers', 'numpy'} & {*sys.modules}\n"
        "assert not loaded, loaded\n"
        "assert all(getattr(pas, name) is not None for name in pas.__all__)\n"
        "assert {*pas.__all__} <= {*dir(pas)}\n"
    )
    done = run_without(("prefect", "mlflow", "duckdb"), code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(pas.__all__) <= 24 and pas.__all__ == sorted(pas.__all__)
    with pytest.raises(AttributeError, match="'pas' has no attribute 'stear'"):
        _ = pas.stear
    assert issubclass(pas.UserError, UserError) and "pas" in sys.modules
