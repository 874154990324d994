"""What answers by letter show: the best constant letter and the share outside the letters."""

import numpy as np
import pytest

from pas.evidence.letters import best_constant, outside_share


def test_outside_share_is_what_the_letters_leave() -> None:
    items = [np.log([0.5, 0.25]), np.log([0.1, 0.2, 0.3]), np.array([0.0, -np.inf])]
    assert outside_share(items) == pytest.approx((0.25 + 0.4 + 0.0) / 3)
    table = np.log(np.full((4, 5), 0.1, np.float32))
    assert outside_share(table) == pytest.approx(0.5, abs=1e-6)
    rounded = [np.array([1e-6, -np.inf])]  # a float32 sum may exceed 1 by a little
    assert outside_share(rounded) == 0.0
    for wrong in ([], [np.array([3.0, 1.0])]):
        with pytest.raises(ValueError, match="normalise=True"):
            outside_share(wrong)


def test_constant_answers() -> None:
    assert best_constant([1, 2, 2, 0, 2]) == (2, 0.6)
    assert best_constant([3, 1, 1, 3]) == (1, 0.5)  # the first of equals
    assert best_constant([0]) == (0, 1.0)
