"""Inputs that a user may give by mistake or with intent, and the words of the answer.

Each module has the table `CASES` of one kind of input. `tests/flows/cli/test_bad_input.py` runs
them.
"""
