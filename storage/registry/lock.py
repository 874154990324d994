"""One promotion or rollback of a vector at a time, whoever starts it.

MLflow has no transactions over several calls. Of all that its stores do in one step, creating a
registered model under a name that is free is the one that only one caller can succeed in, so the
lock of a vector is a registered model of its own, which exists only while the lock is held. A lock
file would do for SQLite, but not for a server.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from storage.registry.client import client, create_once, find
from storage.settings import Registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_PREFIX = "pas.lock."  # vectors begin with `pas-`, so no list of them shows a lock
DEAD_AFTER = 60.0
"""Seconds after which a lock that is still held by the same holder is taken over. It is held for a
few writes, which take less than a second."""
_PAUSE = 0.1  # seconds between two looks
_PATIENCE = 30  # looks without a word
_HOLDER = "holder"

log = logging.getLogger("pas")


@contextmanager
def exclusive(registry: Registry, name: str) -> Iterator[None]:
    """Within the context, nobody else is in it for the same vector and store.

    The holder's death leaves the lock behind, and the next caller takes it over after `DEAD_AFTER`
    seconds. No clocks are compared: a caller counts how long it has seen the same holder.

    Args:
        registry: The store.
        name: Registered model.
    """
    with _held(client(registry), LOCK_PREFIX + name):
        yield


@contextmanager
def _held(store: "MlflowClient", lock: str) -> Iterator[None]:
    me = uuid4().hex
    try:
        _acquire(store, lock, me)
        yield
    finally:
        # An error of the block is the one to see; a lock that stays is taken over.
        with suppress(Exception):
            if _holder(store, lock) == me:
                store.delete_registered_model(lock)


def _acquire(store: "MlflowClient", lock: str, me: str) -> None:
    seen, looks = None, 0
    # A request that is sent again may find that its first sending took the lock.
    while (holder := _holder(store, lock)) != me:
        if holder is None:
            _create(store, lock, me)
            continue
        # Looks are counted, not seconds: while the store is away, nobody can let go of a lock.
        seen, looks = holder, looks + 1 if holder == seen else 0
        if looks == _PATIENCE:
            log.info("waiting for another promotion or rollback, which holds %s", lock)
        if looks * _PAUSE > DEAD_AFTER:
            log.warning("%s has been held for %g s and is taken over", lock, DEAD_AFTER)
            _take_over(store, lock, holder)
        time.sleep(_PAUSE)


def _take_over(store: "MlflowClient", lock: str, holder: str) -> None:
    """Remove a dead holder's lock. Of several callers only one does, and none a living one's."""
    with _held(store, f"{lock}.{holder}"):
        if _holder(store, lock) == holder:
            store.delete_registered_model(lock)


def _holder(store: "MlflowClient", lock: str) -> str | None:
    held = find(lambda: store.get_registered_model(lock))
    return None if held is None else str(held.tags.get(_HOLDER, ""))


def _create(store: "MlflowClient", lock: str, me: str) -> None:
    create_once(
        lambda: store.create_registered_model(
            lock,
            tags={_HOLDER: me},
            description="Held while a vector is promoted or rolled back, and removed at the end.",
        )
    )
