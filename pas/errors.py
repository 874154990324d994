"""The exception for mistakes in what a user gave."""


class UserError(Exception):
    """A mistake that the user can correct. The message names the place and the remedy.

    The command line prints the message without a traceback and ends with exit code 2. Any other
    exception is a defect of this package and keeps its traceback.
    """
