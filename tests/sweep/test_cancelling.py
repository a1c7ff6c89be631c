"""Every await of every public call can be cancelled: no descriptor is left or another's closed, no byte lost, nothing goes on."""

from typing import get_args

import pytest
from sweep.attempt import Moment, cancelled_everywhere
from sweep.calls import calls, instant

from plait.loop import Loop


@pytest.mark.parametrize("moment", get_args(Moment))
@pytest.mark.parametrize("name", calls)
def test_cancelled_at_each_of_its_awaits(loop: Loop, name: str, moment: Moment) -> None:
    awaits = cancelled_everywhere(loop, calls[name], moment)
    assert awaits >= 1 or name in instant
