"""What a vector was made from, as tags of its version: compared in a moment, without downloads."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ORIGIN_TAG = "made_from"  # of a version: `Origin.digest`; its parts have tags that begin with it
_LONGEST = 64  # characters of a recipe's value; longer ones are told apart by their hash


@dataclass(frozen=True)
class Origin:
    """What determines a vector; equal digests mean an equal training.

    Attributes:
        data: Digest of the data set's items.
        items: Their number; None for data stored by an older version.
        model: Fingerprint of the model.
        recipe: The fields that can change the result, as JSON; see `recipe_text`.
        code: Digest of the code that computes, see `storage.lake.lineage.code_digest`.
    """

    data: str
    items: int | None
    model: str
    recipe: str
    code: str

    @property
    def digest(self) -> str:
        """blake2b-128 of data, model, recipe and code, as 32 hex characters."""
        text = json.dumps([self.data, self.model, self.recipe, self.code])
        return _hash(text, 16)

    @property
    def tags(self) -> dict[str, str]:
        """The whole and each part, as tags of a version."""
        parts = {
            "data": self.data,
            "items": "" if self.items is None else str(self.items),
            "model": self.model,
            "recipe": self.recipe,
            "code": self.code,
        }
        return {ORIGIN_TAG: self.digest} | {f"{ORIGIN_TAG}_{k}": v for k, v in parts.items()}

    def changes_since(self, before: "Origin") -> list[str]:
        """Say in words what is different from an earlier origin; empty if nothing is."""
        found = []
        if self.data != before.data:
            counts = ["unknown" if n is None else f"{n:,}" for n in (before.items, self.items)]
            found.append(f"data: {counts[0]} items before, {counts[1]} now")
        if self.model != before.model:
            found.append(f"model: fingerprint {before.model[:8]} before, {self.model[:8]} now")
        if self.recipe != before.recipe:
            old, new = json.loads(before.recipe), json.loads(self.recipe)
            names = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
            found.append(f"recipe: {', '.join(names)}")
        if self.code != before.code:
            found.append("code: of the method")
        return found


def read_origin(tags: Mapping[str, str]) -> Origin | None:
    """Return what a version was made from, or None if its tags do not say so."""
    if ORIGIN_TAG not in tags:
        return None
    items = tags[f"{ORIGIN_TAG}_items"]
    texts = {name: tags[f"{ORIGIN_TAG}_{name}"] for name in ("data", "model", "recipe", "code")}
    return Origin(items=int(items) if items else None, **texts)


def recipe_text(fields: Mapping[str, Any]) -> str:
    """Return fields of a recipe as JSON that fits a tag: long values are replaced by a hash."""
    plain = json.loads(json.dumps(fields))
    short = {k: v if len(json.dumps(v)) <= _LONGEST else _hash(json.dumps(v), 8)
             for k, v in plain.items()}  # fmt: skip
    return json.dumps(short, sort_keys=True)


def _hash(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
