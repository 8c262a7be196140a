"""What makes two training runs the same one: options, data and the weights they start from.

Called by the training loop before it goes on from a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nasnet.errors import TrainingError
from nasnet.training.options import TrainOptions

__all__ = ["check_identity", "comparable"]

# A result does not depend on these (but for the last bits), so that they may change on the way.
_FREE = ("device", "checkpoint_seconds", "patience", "compile")


def comparable(options: TrainOptions) -> dict[str, Any]:
    """The options a result depends on."""
    return {name: value for name, value in asdict(options).items() if name not in _FREE}


def check_identity(was: Any, now: Mapping[str, Any], file: Path) -> None:  # noqa: ANN401
    """Make sure that a checkpoint belongs to the run that is started.

    Raises:
        TrainingError: it does not; the text names what differs.
    """
    present = json.loads(json.dumps(now))
    if was != present:
        raise TrainingError(
            f"{file} belongs to another run ({_difference(was, present)}): name another folder, "
            "or start anew with --overwrite"
        )


def _difference(was: Any, now: Any, name: str = "run") -> str:  # noqa: ANN401
    """The first thing that differs, for people."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*was, *(other for other in now if other not in was)]:
            if was.get(key) != now.get(key):
                return _difference(was.get(key), now.get(key), key)
    return f"{name} was {was!r}, now it is {now!r}"
