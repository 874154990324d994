"""The process's environment for Prefect: to be set before Prefect is imported."""

import errno
import logging
import os
import warnings
from pathlib import Path

from pas.errors import UserError


def prepare_environment(home: Path, *, verbose: bool = False) -> None:
    """Give Prefect a home of its own and quiet defaults; what the user has set stays.

    Args:
        home: `PAS_HOME`; Prefect's database, results and profiles go to `<home>/prefect`.
        verbose: Let Prefect's own log lines through.
    """
    defaults = {
        "PREFECT_HOME": str(home / "prefect"),
        # A cold machine needs longer than Prefect's 20 seconds.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # We keep no results with Prefect; where somebody turns that on, they are no pickles.
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        # Errors reach the caller as exceptions; logged too, they would show a traceback for what is
        # a mistake in the data.
        "PREFECT_LOGGING_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "pas",
        # A forecast or `pas steer` may log a warning, outside of any flow.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
        # Bars and notices of libraries would bury ours. What datasets logs of a file that it cannot
        # read comes as an exception too, and that one we tell.
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "DATASETS_VERBOSITY": "critical",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # It warns of kernels for the CPU that are not installed, whenever another library imports it.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Importing Prefect tries to make its home and fails where the home does not exist yet.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


def make_home(home: Path) -> None:
    """Make the folder that Prefect will not make itself; call before the first flow.

    Kept apart from `prepare_environment` so that a mistake found before leaves nothing behind.

    Raises:
        UserError: If it may not be made there.
        OSError: If the disk is full.
    """
    try:
        (home / "prefect").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise UserError(
            f"PAS_HOME {home}: {error.strerror}; set it to a folder that you may write to"
        ) from error
