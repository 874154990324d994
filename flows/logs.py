"""What a run's log shows: our own lines, and of a user's mistake one line without tracebacks."""

import logging

from pas.errors import UserError


class _OneLine(logging.Filter):
    """Takes the traceback off a record of a `UserError`, or drops the record."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep = keep

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is shown."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, UserError):
            return True
        record.exc_info, record.msg, record.args = None, f"error: {error}", ()
        return self._keep


def show_steps() -> None:
    """Show what our flows say of their steps.

    Prefect adds its handler to our logger but leaves it at the root's level, which hides them.
    """
    logging.getLogger("pas").setLevel(logging.INFO)


def tell_mistakes_once() -> None:
    """Have Prefect log a `UserError` as one line of the flow run."""
    for name, keep in (("prefect.flow_runs", True), ("prefect.task_runs", False)):
        log = logging.getLogger(name)
        if not any(isinstance(found, _OneLine) for found in log.filters):
            log.addFilter(_OneLine(keep=keep))
