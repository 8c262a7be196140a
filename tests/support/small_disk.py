"""A disk that is soon full: a file system of its own in memory, in namespaces of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

_MOUNTED = 'mount -t tmpfs -o "size=$1" none "$2" && shift && exec "$2" -c "$3" "$1" "$4"'
_SPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def on_small_disk(
    room: str, folder: Path, code: str, argument: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Python code, told a folder that has so much room; no right of root is needed.

    Args:
        room: as `mount` takes it, such as `1m`.
        folder: where the disk is to be; the test is skipped where the system lets nobody have one.
        code: the folder is its first argument.
        argument: its second.
    """
    space = [*_SPACE, 'mount -t tmpfs none "$1"', "sh", str(folder)]
    if shutil.which("unshare") is None or subprocess.run(space, check=False).returncode:
        pytest.skip("the system gives no file system of our own")
    command = [*_SPACE, _MOUNTED, "sh", room, str(folder), sys.executable, code, argument]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
