"""What a process leaves that is killed while it writes a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_KILLED = """
import os, signal, sys
from pathlib import Path
from nasnet.system import staged
with staged(Path(sys.argv[1])) as place:
    place.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def left_by_a_killed_run(target: Path) -> None:
    """Kill a process in the middle of writing `target`."""
    before = set(target.parent.iterdir())
    subprocess.run([sys.executable, "-c", _KILLED, str(target)], check=False)
    assert len(set(target.parent.iterdir()) - before) == 1
