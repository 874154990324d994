"""The vectors that a server offers, kept up to date with the registry."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from pas.errors import UserError
from pas.files import existing
from pas.models.loading import LoadedModel
from pas.steering.compatibility import fit
from pas.steering.intervention import Composition, interventions_of
from storage.registry.calibrations import auto_strength
from storage.registry.server import check_server
from storage.registry.versions import CHAMPION, VectorVersion, list_versions, load_vector, resolve
from storage.settings import Registry

log = logging.getLogger("pas")


class ServedVector(NamedTuple):
    """One version of a vector, as requests use it.

    Attributes:
        name: Registered model, or the name that a folder was given.
        version: Its number; None for a folder.
        steering: What it does, with its own strengths.
        calibrated: The strength that `pas calibrate` found; None if it was not run.
    """

    name: str
    version: int | None
    steering: Composition
    calibrated: float | None = None

    def at(self, strength: float | None) -> Composition:
        """Return what it does with another strength.

        Args:
            strength: In place of a vector's own; of a composition, a factor on all its strengths.
                None changes nothing.
        """
        if strength is None:
            return self.steering
        if len(self.steering.interventions) > 1:
            return self.steering.scaled(strength)
        return Composition((replace(self.steering.interventions[0], strength=strength),))

    @property
    def label(self) -> str:
        """`NAME:version`, or the name of a folder."""
        return self.name if self.version is None else f"{self.name}:{self.version}"


def _calibrated(version: VectorVersion, steering: Composition) -> float | None:
    try:
        return auto_strength(version, steering.interventions[0].vector)
    except UserError:
        return None


def reference_of(named: str) -> str:
    """Return what requests call a vector that was named by reference or by folder."""
    path = existing(named)
    return named if path is None else path.resolve().name.removesuffix(".safetensors")


class Vectors:
    """Finds vectors by reference. A promotion is noticed at the next look at the registry.

    Requests hold on to what they were given, so they end with the version they began with.
    """

    def __init__(
        self,
        model: LoadedModel,
        registry: Registry | None,
        folders: Mapping[str, Composition],
        calibrated: Mapping[str, float] | None = None,
    ) -> None:
        """Look at the registry once.

        Args:
            model: Vectors that do not fit it are not offered.
            registry: The store; None for folders alone.
            folders: Vectors that are in no registry, by name; they fit the model.
            calibrated: What `pas calibrate` found for them, where it was run.
        """
        self._model, self._registry = model, registry
        self._folders = {
            name: ServedVector(name, None, s, (calibrated or {}).get(name))
            for name, s in folders.items()
        }
        self._loaded: dict[tuple[str, int], ServedVector | None] = {}
        self._aliases: dict[str, ServedVector] = {}
        self._loading = threading.Lock()
        self.error: str | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read the aliases of the registry anew, and the vectors that they stand for.

        A registry that does not answer is noted in `error`; what was known is served on.
        """
        if self._registry is None:
            return
        try:
            check_server(self._registry)  # the client itself would try for minutes
            versions = list_versions(self._registry)
            aliases = {
                f"{version.name}@{alias}": vector
                for version in versions
                for alias in version.aliases
                if (vector := self._load(version)) is not None
            }
        except Exception as error:  # whatever the client of the store raises
            if self.error is None:
                log.warning("the registry does not answer; known vectors are served on")
            self.error = type(error).__name__
            return
        self.error = None
        for reference, vector in aliases.items():
            before = self._aliases.get(reference)
            if before is not None and before.version != vector.version:
                log.info(
                    "%s is version %s now, before %s", reference, vector.version, before.version
                )
        self._aliases = aliases

    def watch(self, seconds: float) -> None:
        """Look at the registry every few seconds, until `stop`."""

        def look() -> None:
            while not self._ended.wait(seconds):
                self.refresh()

        self._thread = threading.Thread(target=look, name="pas-registry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    @property
    def offered(self) -> dict[str, ServedVector]:
        """The vectors that can be asked for, by reference."""
        return self._folders | self._aliases

    def find(self, reference: str) -> ServedVector:
        """Return a vector by `NAME`, `NAME@alias`, `NAME:version`, or the name of a folder.

        What is known is returned at once; a version that was not asked for before is fetched.

        Raises:
            UserError: If there is none, or it does not fit the model.
        """
        for known in (reference, f"{reference}@{CHAMPION}"):
            if known in self.offered:
                return self.offered[known]
        if self._registry is None:
            names = ", ".join(self.offered) or "none"
            raise UserError(f"vector {reference!r}: not offered here; there are: {names}")
        version = resolve(self._registry, reference)
        vector = self._load(version)
        if vector is None:
            raise UserError(f"vector {reference}: it does not fit the model that is served")
        return vector

    def _load(self, version: VectorVersion) -> ServedVector | None:
        """Return a version's vector, fetched once; None if it does not fit the model."""
        key = version.name, version.version
        found = self._fetched(version, key)
        if found is None:
            return None
        # A version may be calibrated after it was fetched.
        calibrated = _calibrated(version, found.steering)
        return found if found.calibrated == calibrated else found._replace(calibrated=calibrated)

    def _fetched(self, version: VectorVersion, key: tuple[str, int]) -> ServedVector | None:
        with self._loading:
            if key not in self._loaded:
                vector = load_vector(self._registry, version) if self._registry else None
                fits = vector is not None and fit(vector, self._model).level != "none"
                self._loaded[key] = (
                    ServedVector(version.name, version.version, interventions_of(vector))
                    if vector is not None and fits
                    else None
                )
        return self._loaded[key]
