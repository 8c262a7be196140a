"""Children that wait for their turn: started, asked over pipes one at a time, and ended.

Called by `running`; what the children do is `child`'s business.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

__all__ = ["Child", "LeftOutError", "command_of", "schedule"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LeftOutError(Exception):
    """Why a peer does not go on."""


def command_of(peer: str, *, threads: int, pixels: Path) -> list[str]:
    """How a peer's process is started."""
    module = [sys.executable, "-m", "benchmarks.child", peer]
    return [*module, "--threads", str(threads), "--pixels", str(pixels)]


def schedule(peers: Sequence[str], rounds: int, *, seed: int = 0) -> Iterator[list[str]]:
    """The peers of each round in an order of its own, so that nobody always comes after another."""
    order = random.Random(seed)
    for _ in range(rounds):
        yield order.sample(list(peers), len(peers))


class Child:
    """A process that answers; lives until `close`, and no longer than this process."""

    def __init__(self, command: Sequence[str], *, threads: int, patience: float = 900.0) -> None:
        """Start it; `ready` waits for its first answer.

        Args:
            command: what to run.
            threads: told to libraries that read it from the environment.
            patience: seconds an answer may take before the process is ended.
        """
        self._patience = patience
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=os.environ | dict.fromkeys(_THREADS, str(threads)),
        )

    def ready(self) -> dict[str, Any]:
        """What it says of itself once it is made."""
        return self._answer()

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Give it its turn; its answer.

        Raises:
            LeftOutError: it failed, ended or took too long.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise LeftOutError(self._last_words()) from None
        return self._answer()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        alarm = threading.Timer(self._patience, self._process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise LeftOutError(self._last_words())
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise LeftOutError(found["error"])
        return found

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {self._process.returncode}"
