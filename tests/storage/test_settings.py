"""A variable that does not fit is named, not shown as a traceback."""

import pytest

from pas.errors import UserError
from storage.settings import settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PAS_SHARD_TOKENS", "many"),
        ("PAS_BATCH_ROWS", "-3"),
        ("PAS_TASK_RUNNER", "spark"),
        ("PAS_TRUST_REMOTE_CODE", "perhaps"),
    ],
)
def test_a_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    settings.cache_clear()
    with pytest.raises(UserError, match=variable) as error:
        settings()
    assert value not in str(error.value)
    settings.cache_clear()
