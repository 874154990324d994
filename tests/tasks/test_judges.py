"""A judge behind OpenAI's interface that does not answer."""

import pytest

from pas.errors import UserError
from pas.evidence.pairs import Pair
from tasks.judges import by_endpoint


def test_nobody_answers() -> None:
    with pytest.raises(UserError, match="give the address"):
        by_endpoint("ftp://here", "m", "is better")
    judge = by_endpoint("http://127.0.0.1:9/v1", "m", "is better")
    with pytest.raises(UserError, match="the judge does not answer"):
        judge(Pair("1", "p", "a", "b", "first"))
