"""The record of decisions about a vector's versions: promotions, refusals, rollbacks.

The records of a vector are tags of its registered model, one for each decision, as JSON. What
people read of a decision is a sentence: the tag `DECISION_TAG` of the version, and of the model.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from storage.lake.schema import require_schema
from storage.registry.client import client
from storage.registry.versions import TAG_LIMIT, find_model
from storage.settings import Registry

Action = Literal["promote", "refuse", "keep", "rollback"]
State = Literal["begun", "done", "undone"]

# Of the registered model, followed by the time. MLflow's pages do not show tags of this prefix.
RECORD_TAG = "mlflow.pas.decision."
OLDER_TAG = "pas.promotion."  # what promotions and rollbacks were recorded under before
_SCHEMA = 1  # number of the form of a record
_REASON_LIMIT = 1000  # characters
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class Record(NamedTuple):
    """One decision about a version.

    Attributes:
        time: ISO 8601, UTC; no two records of a vector have the same.
        action: "promote"; "refuse"; "keep", as the champion holds the same vector already; or
            "rollback".
        version: The version that was promoted, refused or kept, or that a rollback made champion.
        replaced: The champion before, where there is another one now.
        content: `SteeringVector.content` of the version, where it was known.
        findings: What the checks found. Long ones are shortened.
        findings_left_out: How many did not fit into the tag.
        accepted: Findings that were accepted although they failed.
        reason: Why.
        automatic: Whether no person asked for the decision.
        state: "begun" until the aliases are moved; "undone" if they could not be.
    """

    time: str
    action: Action
    version: int
    replaced: int | None = None
    content: str | None = None
    findings: Sequence[Mapping[str, Any]] = ()
    findings_left_out: int = 0
    accepted: Sequence[str] = ()
    reason: str = ""
    automatic: bool = False
    state: State = "done"

    @property
    def moves(self) -> bool:
        """Whether the decision gives the vector another champion."""
        return self.action in ("promote", "rollback") and self.state != "undone"

    @property
    def day(self) -> str:
        """The date, `2026-11-26`."""
        return self.time[:10]

    @property
    def _refused_for(self) -> str:
        """The finding that refused it, as it was measured, and the names of the others."""
        blocking = [f for f in self.findings if f.get("blocks", True) and not f.get("passed")]
        names = [str(f["check"]) for f in blocking if f.get("check") not in self.accepted]
        if not names:
            return ""
        measured = next(f.get("measured") for f in blocking if f["check"] == names[0])
        also = f"; also {', '.join(names[1:])}" if names[1:] else ""
        return f": {names[0]} ({measured}){also}"

    @property
    def sentence(self) -> str:
        """What it means for the version, for people."""
        if self.state == "undone":
            return f"{self.action} of {self.day} could not be carried out"
        if self.action == "keep":
            return f"not needed ({self.day}): the champion holds the same vector"
        if self.action == "rollback":
            return f"champion again since {self.day}, by a rollback from version {self.replaced}"
        if self.action == "refuse":
            return f"refused on {self.day}{self._refused_for}"
        instead = f" in place of version {self.replaced}" if self.replaced else ""
        although = f", although {', '.join(self.accepted)}: {self.reason}" if self.accepted else ""
        return f"promoted on {self.day}{instead}{although}"

    @property
    def sentence_for_replaced(self) -> str:
        """What it means for the version that was replaced, for people."""
        if self.action == "rollback":
            return f"rolled back from on {self.day}; version {self.version} is champion again"
        return f"replaced on {self.day} by version {self.version}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return self._asdict()


def history(registry: Registry, name: str) -> list[Record]:
    """Return every decision about a vector, oldest first.

    Raises:
        UserError: If there is no such name.
    """
    tags = find_model(registry, name).tags
    # An older record that was finished later is under both names.
    found = [
        _read(tags[key])
        for prefix in (OLDER_TAG, RECORD_TAG)
        for key in tags
        if key.startswith(prefix)
    ]
    return sorted({record.time: record for record in found}.values())


def judged(past: Sequence[Record]) -> set[int]:
    """Return the versions that a decision was made about."""
    numbers = {number for record in past for number in (record.version, record.replaced)}
    return {number for number in numbers if number is not None}


def next_time(past: Sequence[Record]) -> str:
    """Return the time for the next record: now, but after the last one, whoever's clock is slow."""
    now = datetime.now(UTC)
    if past:
        last = datetime.strptime(past[-1].time, _TIME).replace(tzinfo=UTC)
        now = max(now, last + timedelta(microseconds=1))
    return now.strftime(_TIME)


def write_record(registry: Registry, name: str, record: Record) -> None:
    """Write a record, in place of the one of the same time, if any."""
    # The sentence of a check follows from its other fields, so it is left out first.
    findings = [{k: v for k, v in f.items() if k != "explanation"} for f in record.findings]
    record = record._replace(findings=findings, reason=record.reason[:_REASON_LIMIT])
    short = [
        {k: v[:80] if isinstance(v, str) else v for k, v in f.items()} for f in record.findings
    ]
    text = _text(record)
    while len(text) > TAG_LIMIT:
        text = _text(record._replace(findings=short))
        record = record._replace(findings_left_out=record.findings_left_out + 1)
        short = short[:-1]
    client(registry).set_registered_model_tag(name, RECORD_TAG + record.time, text)


def _text(record: Record) -> str:
    defaults = Record._field_defaults
    facts = {k: v for k, v in record.as_dict().items() if k not in defaults or v != defaults[k]}
    return json.dumps({"schema": _SCHEMA} | facts, default=str)


def _read(text: str) -> Record:
    facts = json.loads(text)
    require_schema(facts.get("schema"), _SCHEMA, "a decision in the registry")
    # Before there was one table of checks, a promotion had gates.
    facts.setdefault("findings", facts.get("gates", ()))
    return Record(**{k: v for k, v in facts.items() if k in Record._fields})
