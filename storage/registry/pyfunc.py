"""A vector packed as an MLflow pyfunc: a model from code, with a copy of `pas`.

The pyfunc names its base model and does not contain it; `storage.registry.serving` is its code.
"""

import re
import tempfile
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pas
from pas.steering.vector import SteeringVector
from storage.registry.versions import VECTOR_FOLDER

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

# What `pas` imports; the optional ones only where they are installed.
_REQUIRED = (
    "torch",
    "transformers",
    "safetensors",
    "huggingface-hub",
    "numpy",
    "pandas",
    "mlflow",
    "pyyaml",
)
_OPTIONAL = ("accelerate", "gguf", "platformdirs", "bitsandbytes", "jinja2", "sentencepiece")
# MLflow hands the code's model over in a module global.
_saving = threading.Lock()


def save_pyfunc(
    folder: Path, logged: "LoggedModel", run_id: str, vector: SteeringVector, example_prompt: str
) -> None:
    """Write the model's folder as MLflow keeps it; neither model nor weights are loaded.

    Args:
        folder: Made by this function.
        logged: MLflow's record of the model.
        run_id: The run that trained the vector.
        vector: Goes into the artifacts, in the folder `vector`.
        example_prompt: Input example.
    """
    import pandas as pd
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    example = pd.DataFrame({"prompt": [example_prompt]})
    with tempfile.TemporaryDirectory() as scratch, _saving:
        vector.save(Path(scratch) / VECTOR_FOLDER)
        save_model(
            path=str(folder),
            python_model=str(Path(__file__).with_name("serving.py")),
            artifacts={VECTOR_FOLDER: str(Path(scratch) / VECTOR_FOLDER)},
            code_paths=[str(Path(pas.__file__).parent)],
            pip_requirements=_requirements(),
            signature=_signature(vector),
            input_example=example,
            # Null where the vector's own reference to its model holds.
            model_config={"model": None, "device": None, "dtype": None, "cache_dir": None},
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
                run_id=run_id,
            ),
        )


def _signature(vector: SteeringVector) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        # No schema of the input: MLflow would refuse a list of texts for want of a column's name,
        # or, without a name, take the first column of a table. `serving` looks for itself.
        outputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(
            [
                ParamSpec("strength", DataType.double, float(vector.strength)),
                ParamSpec("enabled", DataType.boolean, True),
                ParamSpec("max_new_tokens", DataType.long, 60),
                ParamSpec("temperature", DataType.double, 0.0),
                ParamSpec("top_p", DataType.double, 1.0),
                ParamSpec("seed", DataType.long, -1),
                ParamSpec("describe", DataType.boolean, False),
            ]
        ),
    )


def _requirements() -> list[str]:
    """Pin what is installed; naming it is quick, MLflow's own way is to load the model."""
    pins = []
    for package in (*_REQUIRED, *_OPTIONAL):
        try:
            # A local build's suffix (2.13.0+cpu) is on no index.
            pins.append(f"{package}=={re.sub(r'[+].*', '', version(package))}")
        except PackageNotFoundError:
            if package in _REQUIRED:
                raise
    return pins
