"""The command line `pas`. Heavy libraries are imported by the command that needs them."""

import sys

USER_ERROR = 2


def main() -> None:
    """Run the command line; a user's mistake ends with exit code 2 and one message."""
    from flows.cli.commands import app
    from pas.errors import UserError

    try:
        _refuse_bytes(sys.argv[1:])
        app()
    except UserError as error:
        from storage.http import redacted

        sys.stderr.write(f"error: {redacted(str(error))}\n")
        sys.exit(USER_ERROR)


def _refuse_bytes(arguments: list[str]) -> None:
    """Refuse arguments that are no text: they could be kept in no file, tag or database.

    Raises:
        UserError: Naming the argument.
    """
    from pas.characters import has_half_characters
    from pas.errors import UserError

    for argument in arguments:
        if has_half_characters(argument):
            raise UserError(
                f"the argument {argument[:80]!r} is not UTF-8: rename the file, or correct the text"
            )
