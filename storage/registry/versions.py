"""Steering vectors as versions of registered MLflow models: register, find, fetch."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pas.errors import UserError
from pas.steering.vector import SteeringVector
from storage.registry.client import client, create_once, download, write
from storage.settings import Registry

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
VECTOR_FOLDER = "vector"  # inside the pyfunc's artifacts; `storage.registry.serving` reads it
DIGEST_TAG = "vector_digest"  # of a version: `SteeringVector.digest`
CONTENT_TAG = "vector_content"  # of a version: `SteeringVector.content`
TAG_LIMIT = 5000  # characters; hosted registries allow no more, MLflow's own allows 100,000
# MLflow's page of a version orders tags by name, capitals first: these two come first.
DECISION_TAG, VERDICT_TAG = "Decision", "Verdict"
LAST_DECISION_TAG = "Last decision"  # of the registered model
_PREFIX = "pas-"


class VectorVersion(NamedTuple):
    """One version of a registered vector; `load_vector` fetches the vector itself."""

    name: str
    version: int
    run_id: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created: datetime

    @property
    def verdict(self) -> str | None:
        """The label of its training's verdict."""
        return self.tags.get(VERDICT_TAG, self.tags.get("verdict"))  # as older versions wrote it

    @property
    def accuracies(self) -> tuple[float | None, float | None]:
        """Test accuracy without and with the vector."""
        unsteered, steered = (
            None if (value := self.tags.get(name)) is None else float(value)
            for name in ("baseline_accuracy", "steered_accuracy")
        )
        return unsteered, steered


class StaleAlias(NamedTuple):
    """An alias of a version that was deleted."""

    name: str
    alias: str
    version: int

    @property
    def problem(self) -> str:
        """What is wrong, and what to do."""
        return (
            f"{self.name}: {self.alias} is version {self.version}, which was deleted; promote "
            f"another one with pas promote {self.name} --version N"
        )


def model_name(model: str, task: str) -> str:
    """Return the registered model's name `pas-<model>-<task>`, in characters safe in a URI."""
    return _PREFIX + "-".join(
        re.sub(r"[^a-z0-9._-]+", "-", part.lower()).strip("-.") for part in (model, task)
    )


def register(
    registry: Registry, *, name: str, logged_model: str, run_id: str, tags: Mapping[str, object]
) -> VectorVersion:
    """Make a version of a logged model and give it the alias `candidate`.

    A run has one version of a name, so a retry after a failure finds the version it made.

    Args:
        registry: The store.
        name: Registered model, see `model_name`; created when absent.
        logged_model: MLflow's id of the logged model, `m-...`.
        run_id: The run that trained the vector.
        tags: Facts for the reader of the version: method, layer, strength...
    """
    store = client(registry)
    create_once(lambda: store.create_registered_model(name))
    made = store.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    if made:
        number = made[0].version
    else:
        number = store.create_model_version(
            name,
            # A models:/ source would be looked up in the process's global store.
            source=store.get_logged_model(logged_model).artifact_location,
            run_id=run_id,
            model_id=logged_model,
            tags={key: str(value)[:TAG_LIMIT] for key, value in tags.items()},
        ).version
        # MLflow's page of the run finds the version by this tag.
        link = json.dumps([{"name": name, "version": str(number)}])
        store.set_logged_model_tags(logged_model, {"mlflow.modelVersions": link})
    write(lambda: store.set_registered_model_alias(name, CANDIDATE, number))
    return resolve(registry, f"{name}:{number}")


def describe(registry: Registry, version: VectorVersion, text: str, model_text: str) -> None:
    """Set the description of a version, and that of its registered model if it has none.

    Args:
        registry: The store.
        version: The version.
        text: Its description, in Markdown.
        model_text: That of the registered model.
    """
    store = client(registry)
    store.update_model_version(version.name, str(version.version), text[:TAG_LIMIT])
    if not store.get_registered_model(version.name).description:
        store.update_registered_model(version.name, model_text[:TAG_LIMIT])


def resolve(registry: Registry, reference: str) -> VectorVersion:
    """Find a version by `NAME`, `NAME@alias` or `NAME:version`.

    `NAME` alone is the champion, else the candidate, else the latest version.

    Raises:
        UserError: If there is no such name, alias or version; it lists those there are.
    """
    parts = re.fullmatch(r"([^@:/]+)(?:@([^@:/]+)|:([0-9]{1,9}))?", reference.strip())
    if parts is None:
        raise UserError(f"vector {reference!r}: write NAME, NAME@alias or NAME:version")
    name, alias, number = parts.groups()
    aliases, versions = find_aliases(registry, name), find_versions(registry, name)
    if number is not None:
        wanted = int(number)
    elif alias is not None:
        if alias not in aliases:
            known = ", ".join(f"@{a} (version {v})" for a, v in sorted(aliases.items())) or "none"
            raise UserError(f"vector {reference}: {name} has no alias {alias!r}; it has {known}")
        wanted = aliases[alias]
    else:
        alias = next((a for a in (CHAMPION, CANDIDATE) if a in aliases), None)
        wanted = aliases[alias] if alias else max(versions, default=0)
    if wanted not in versions:
        known = ", ".join(map(str, sorted(versions))) or "none"
        if alias is not None:
            raise UserError(f"vector {StaleAlias(name, alias, wanted).problem}; there is {known}")
        raise UserError(f"vector {reference}: {name} has no version {wanted}; it has {known}")
    return versions[wanted]


def find_versions(registry: Registry, name: str) -> dict[int, VectorVersion]:
    """Return the versions of a vector by number, without the deleted ones.

    Raises:
        UserError: If there is no such name.
    """
    aliases = find_aliases(registry, name)
    found = _all(client(registry).search_model_versions, f"name = '{name}'")
    return {int(version.version): _version(version, aliases) for version in found}


def find_copy(
    registry: Registry, name: str, vector: SteeringVector, run_id: str
) -> VectorVersion | None:
    """Return the newest version of a name that another run made of this very vector, if any.

    Versions written before they had the tag `vector_digest` are compared by their artifacts; one
    whose artifacts are gone is no copy.

    Args:
        registry: The store.
        name: Registered model; need not exist.
        vector: What to look for.
        run_id: The run that asks, whose own version is not a copy.
    """
    digest = vector.digest
    versions = _all(client(registry).search_model_versions, f"name = '{name}'")
    others = [version for version in versions if version.run_id != run_id]
    for version in sorted(others, key=lambda version: -int(version.version)):
        known = version.tags.get(DIGEST_TAG)
        if known is None:
            with suppress(UserError):
                known = load_vector(registry, _version(version, {})).digest
        if known == digest:
            return resolve(registry, f"{name}:{version.version}")
    return None


def tag_version(registry: Registry, version: VectorVersion, tags: Mapping[str, object]) -> None:
    """Give a version the tags that it lacks or has with another value."""
    store = client(registry)
    for key, value in tags.items():
        text = str(value)[:TAG_LIMIT]
        if version.tags.get(key) != text:
            store.set_model_version_tag(version.name, str(version.version), key, text)


def make_candidate(registry: Registry, version: VectorVersion) -> None:
    """Give a version the alias `candidate`, unless it is the champion already."""
    if CHAMPION not in version.aliases:
        write(
            lambda: client(registry).set_registered_model_alias(
                version.name, CANDIDATE, str(version.version)
            )
        )


def list_versions(registry: Registry) -> list[VectorVersion]:
    """Return every version of every vector, by name and newest first."""
    store = client(registry)
    query = f"name LIKE '{_PREFIX}%'"
    models = {model.name: model for model in _all(store.search_registered_models, query)}
    versions = [
        _version(version, _aliases(models[version.name]))
        for version in _all(store.search_model_versions, query)
        if version.name in models
    ]
    return sorted(versions, key=lambda version: (version.name, -version.version))


def stale_aliases(registry: Registry) -> list[StaleAlias]:
    """Return the aliases that stand for a deleted version, of every vector."""
    query, store = f"name LIKE '{_PREFIX}%'", client(registry)
    there = {(v.name, int(v.version)) for v in _all(store.search_model_versions, query)}
    return [
        StaleAlias(model.name, alias, number)
        for model in _all(store.search_registered_models, query)
        for alias, number in sorted(_aliases(model).items())
        if (model.name, number) not in there
    ]


def load_vector(registry: Registry, version: VectorVersion) -> SteeringVector:
    """Fetch the vector from the version's artifacts.

    Raises:
        UserError: If the artifacts are gone, or are not those that were registered.
    """
    store = client(registry)
    model = store.get_model_version_download_uri(version.name, str(version.version))
    uri = f"{model}/artifacts/{VECTOR_FOLDER}"
    with tempfile.TemporaryDirectory() as folder:
        vector = SteeringVector.load(download(registry, uri, Path(folder)))
    if version.tags.get(DIGEST_TAG, vector.digest) != vector.digest:
        raise UserError(
            f"{version.name}:{version.version}: the artifacts in {uri} are not those that were "
            f"registered; restore them, or train the vector again"
        )
    return vector


def content_of(registry: Registry, version: VectorVersion) -> str | None:
    """Return `SteeringVector.content` of a version; None if its artifacts are gone.

    Versions written before they had the tag `vector_content` are read.
    """
    known = version.tags.get(CONTENT_TAG)
    if known is None:
        with suppress(UserError):
            known = load_vector(registry, version).content
    return known


def find_model(registry: Registry, name: str) -> "RegisteredModel":
    """Return MLflow's record of a vector.

    Raises:
        UserError: If there is no such name; it lists those there are.
    """
    query = f"name LIKE '{_PREFIX}%'"
    models = {model.name: model for model in _all(client(registry).search_registered_models, query)}
    if name not in models:
        known = ", ".join(models) or "none yet; train one first"
        raise UserError(f"vector {name}: no such name. Known: {known}")
    return models[name]


def find_aliases(registry: Registry, name: str) -> dict[str, int]:
    """Return the version each alias of a vector stands for.

    Raises:
        UserError: If there is no such name.
    """
    return _aliases(find_model(registry, name))


def _aliases(model: "RegisteredModel") -> dict[str, int]:
    return {alias: int(number) for alias, number in model.aliases.items()}


def _version(version: "ModelVersion", aliases: Mapping[str, int]) -> VectorVersion:
    number = int(version.version)
    return VectorVersion(
        name=version.name,
        version=number,
        run_id=version.run_id or "",
        aliases=tuple(sorted(alias for alias, n in aliases.items() if n == number)),
        tags=dict(version.tags),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
    )


def _all(search: Any, query: str) -> Iterator[Any]:
    """Yield every hit of one of the client's paged searches."""
    token: str | None = None
    while token != "":
        page = search(filter_string=query, page_token=token)
        yield from page
        token = page.token or ""
