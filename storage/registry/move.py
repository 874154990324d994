"""A home that was moved: MLflow's database has the old place of every artifact.

MLflow makes the place of an experiment's artifacts absolute when it creates the experiment, and
that of each run, model and version from it; it has no call to change them.
"""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pas.errors import UserError
from storage.registry.client import MOVED, artifact_folder, client, is_embedded
from storage.settings import Registry

# Where MLflow's database has places of artifacts.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


class Moved(NamedTuple):
    """A folder of artifacts under its old and new place, and how many entries named the old one."""

    old: Path
    new: Path
    entries: int


def moved_from(registry: Registry) -> list[Path]:
    """Return the folders where the database has artifacts of this home, and the home has not.

    Args:
        registry: The store. Only an embedded one, a database with a folder, can have been moved.
    """
    if not is_embedded(registry):
        return []
    new = _root(registry)
    found = {
        _path(experiment.artifact_location).parent
        for experiment in client(registry).search_experiments()
        if experiment.artifact_location.startswith("file:")
        # Others were not made here, such as MLflow's own `Default`.
        and _path(experiment.artifact_location).name == artifact_folder(experiment.name)
    }
    return sorted(found - {new})


def refuse_moved(registry: Registry) -> None:
    """See that the home's artifacts are where its database has them.

    Raises:
        UserError: If the home was moved or copied; what is trained now would go to the old place.
    """
    if old := moved_from(registry):
        places = ", ".join(map(str, old))
        raise UserError(f"the database has the artifacts of this home in {places}. {MOVED}")


def move(registry: Registry) -> list[Moved]:
    """Name the new place of the artifacts, wherever the database names the old one.

    Raises:
        UserError: If the store is not an embedded one, or the artifacts are not in the new place.
    """
    if not is_embedded(registry):
        raise UserError("only the embedded store, a database with a folder, can be moved like this")
    new, moved = _root(registry), []
    for old in moved_from(registry):
        if not new.is_dir():
            raise UserError(
                f"the artifacts are not in {new}: move the whole home, with the folder that was "
                f"{old}, and run it again"
            )
        moved.append(Moved(old, new, _rename(registry, f"{old.as_uri()}/", f"{new.as_uri()}/")))
    return moved


def _rename(registry: Registry, old: str, new: str) -> int:
    """Replace the beginning of every place; all of them or, after an error, none."""
    from sqlalchemy import String, column, create_engine, func, literal, table, update

    engine, entries = create_engine(registry.tracking_uri), 0
    try:
        with engine.begin() as database:
            for name, field in _PLACES:
                place = column(field, String)
                renamed = literal(new) + func.substr(place, len(old) + 1)
                places = update(table(name, place)).values({field: renamed})
                entries += database.execute(
                    places.where(func.substr(place, 1, len(old)) == old)
                ).rowcount
    finally:
        engine.dispose()
    return entries


def _root(registry: Registry) -> Path:
    return Path(str(registry.artifact_root)).expanduser().resolve()


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
