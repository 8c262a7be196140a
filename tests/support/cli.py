"""The command line in this process: what it prints, and its exit status."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from nasnet.cli import run


@dataclass(frozen=True, slots=True)
class Result:
    """What a command line did.

    Attributes:
        exit_code: its exit status.
        stdout: what it printed for programs.
        stderr: what it printed for people.
    """

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def invoke(*arguments: str | Path | float) -> Result:
    """Run `nasnet` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Result(status, out.getvalue(), err.getvalue())
