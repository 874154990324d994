"""A mapping as a YAML file, for a team to share: `pas data --save-mapping`, `--mapping`.

It has the fields `mapping`, `data` (how the file is read, not which) and `scoring` of a recipe.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pas.errors import UserError
from pas.intake.mapping import DataMapping
from pas.intake.sources import Source
from pas.yaml_files import read_yaml

_FIELDS = ("mapping", "data", "scoring")
# Which data are read is said at each use.
_WHICH = ("name", "revision", "config", "split", "labels")


def write_mapping(path: Path, mapping: DataMapping, source: Source, scoring: str) -> None:
    """Write a mapping file.

    Raises:
        UserError: If it cannot be written.
    """
    import yaml

    reading = {k: v for k, v in asdict(source).items() if k not in _WHICH and v is not None}
    document = {"mapping": mapping.given(), "data": reading, "scoring": scoring}
    text = yaml.safe_dump(
        {k: v for k, v in document.items() if v}, sort_keys=False, allow_unicode=True
    )
    try:
        path.write_text(f"# How rows become items; for --mapping.\n{text}", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--save-mapping {path}: cannot be written ({error.strerror})") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Return a mapping file's content, as fields of a recipe.

    Raises:
        UserError: If it is absent, or has other fields.
    """
    place = f"--mapping {path}"
    document = read_yaml(path, place)
    if not isinstance(document, Mapping):
        raise UserError(f"{place}: give a mapping with the fields {', '.join(_FIELDS)}")
    known = {
        "mapping": {f.name for f in fields(DataMapping)},
        "data": {f.name for f in fields(Source)} - {*_WHICH},
    }
    for name, value in document.items():
        if name not in _FIELDS:
            raise UserError(f"{place}: there is no field {name}; there are {', '.join(_FIELDS)}")
        if name not in known:
            continue
        if not isinstance(value, Mapping):
            raise UserError(f"{place}: {name}: give fields, such as question: text")
        if wrong := sorted(map(str, {*value} - known[name])):
            raise UserError(f"{place}: {name} has no field {', '.join(wrong)}")
    return dict(document)
