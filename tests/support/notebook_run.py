"""Runs a notebook in a folder and prints what its cells say: a process of its own, for the sockets
of the kernel's client close when they like."""

from __future__ import annotations

import sys
from pathlib import Path


def main(notebook: Path, folder: Path) -> None:
    import nbclient
    import nbformat
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager()
    manager.kernel_spec.argv[0] = sys.executable  # not the python3 that some kernel names
    cells = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(
        cells, km=manager, timeout=300, resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell in cells.cells:
        for output in cell.get("outputs", []):
            sys.stdout.write(output.get("text") or output.get("data", {}).get("text/plain", ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
