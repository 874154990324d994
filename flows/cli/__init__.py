"""The command line `pas`. Heavy libraries are imported by the command that needs them."""

import sys

USER_ERROR, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command line; a user's mistake ends with exit code 2 and one message."""
    from flows.cli.commands import app
    from pas.errors import UserError

    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept and used by the next run\n")
        sys.exit(INTERRUPTED)
