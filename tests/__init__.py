"""The tests. Processes that share them (`pytest -n`) share the cores, too.

Imported before any test, and before NumPy and torch, which read this once.
"""

import os

# Threads of several pools that wait for each other by spinning take each other's time.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
