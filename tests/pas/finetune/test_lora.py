"""Training adapters: how a step is cut into passes."""

import pytest

from pas.finetune.lora import passes_of


@pytest.mark.parametrize(
    ("size", "longest", "passes"),
    [(16, 60, 1), (16, 128, 1), (16, 129, 2), (16, 600, 8), (16, 5000, 16), (7, 500, 7), (1, 9, 1)],
)
def test_passes_divide_a_step_evenly(size, longest, passes):
    assert passes_of(size, longest, 2048) == passes
