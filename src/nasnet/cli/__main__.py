"""`python -m nasnet.cli`: the same as the installed command, for `torchrun -m`.

Called by the interpreter only.
"""

from __future__ import annotations

from nasnet.cli import main

if __name__ == "__main__":
    main()
