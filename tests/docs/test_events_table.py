"""docs/deploy.md lists the events and their payloads as the code has them."""

from dataclasses import fields

from flows.events import EVENTS, VectorEvent
from tests.helpers.places import ROOT


def test_the_table_of_events_is_complete() -> None:
    shared = {field.name for field in fields(VectorEvent)}
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `pas.")]
    listed = {name.strip("| `"): payload.strip(" |") for name, _, payload in rows}
    assert listed == {
        event.EVENT: ", ".join(f"`{f.name}`" for f in fields(event) if f.name not in shared)
        for event in EVENTS
    }
