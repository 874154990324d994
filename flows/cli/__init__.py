"""The command line `pas`. Heavy libraries are imported by the command that needs them."""

import sys

USER_ERROR = 2


def main() -> None:
    """Run the command line; a user's mistake ends with exit code 2 and one message."""
    from flows.cli.commands import app
    from pas.errors import UserError

    try:
        app()
    except UserError as error:
        from storage.http import redacted

        sys.stderr.write(f"error: {redacted(str(error))}\n")
        sys.exit(USER_ERROR)
