"""What every test is given: seeded weights, a cache of their own, and signals that are heard."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from nasnet.system import STOP_SIGNALS
from nasnet.weights.weights import Weights
from tests.support.golden import golden_weights


@pytest.fixture(scope="session")
def mobile() -> Weights:
    return golden_weights("mobile")


@pytest.fixture(scope="session", autouse=True)
def a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a run keeps in the user's cache folder is its own, and shared by its processes."""
    before = os.environ.get("XDG_CACHE_HOME")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["XDG_CACHE_HOME"] = str(shared / "cache")
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session", autouse=True)
def signals_to_stop_are_heard() -> Iterator[None]:
    """A shell that starts the tests in the background, or nohup, has them ignore some."""
    usual = dict.fromkeys(STOP_SIGNALS, signal.SIG_DFL) | {
        signal.SIGINT: signal.default_int_handler
    }
    before = {number: signal.getsignal(number) for number in usual}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, usual[number])
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
