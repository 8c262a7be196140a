"""What every test is given: seeded weights, and a Ctrl-C that is heard."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from nasnet.weights.weights import Weights
from tests.support.golden import golden_weights


@pytest.fixture(scope="session")
def mobile() -> Weights:
    return golden_weights("mobile")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell that starts the tests in the background has them, and their children, ignore it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
