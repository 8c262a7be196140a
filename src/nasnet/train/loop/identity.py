"""What makes two training runs the same one: options, data and the weights they start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nasnet.errors import TrainingError
from nasnet.train.loop.options import TrainOptions

# A result does not depend on these (but for the last bits), so that they may change on the way.
_FREE = ("device", "checkpoint_seconds", "patience", "compile", "workers", "cache_gb")


def comparable(options: TrainOptions) -> dict[str, Any]:
    """The options a result depends on."""
    return {name: value for name, value in asdict(options).items() if name not in _FREE}


def check_identity(was: Any, now: Mapping[str, Any], file: Path) -> None:  # noqa: ANN401
    """Make sure that a checkpoint belongs to the run that is started.

    What only one of them knows does not count: an option may be younger than the checkpoint.

    Raises:
        TrainingError: it does not; the text names what differs.
    """
    found = _difference(was, json.loads(json.dumps(now)), "run")
    if found is not None:
        raise TrainingError(
            f"{file} belongs to another run ({found}): name another folder, or start anew with "
            "--overwrite"
        )


def _difference(was: Any, now: Any, name: str) -> str | None:  # noqa: ANN401
    """The first thing that differs, for people."""
    if isinstance(was, dict) and isinstance(now, dict):
        inner = ((key, key if name == "run" else f"{name}.{key}") for key in was if key in now)
        found = (_difference(was[key], now[key], place) for key, place in inner)
        return next((text for text in found if text is not None), None)
    return None if was == now else f"{name} was {was!r}, now it is {now!r}"
