"""Settings of fine-tuning that cannot work are refused."""

import pytest

from pas.errors import UserError
from pas.finetune.settings import FineTuning


@pytest.mark.parametrize(
    ("name", "value"),
    [("rank", 0), ("epochs", 0), ("batch_size", -1), ("max_steps", 0), ("alpha", 0.0),
     ("learning_rate", -1e-4), ("learning_rate", float("nan")), ("dropout", 1.0)],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(name, value):
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} "):
        FineTuning(**{name: value})
