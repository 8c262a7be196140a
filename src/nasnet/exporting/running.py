"""The seam between an exported file and the check of it: its own runtime behind one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Arrays = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Run:
    """An export that was loaded by its own runtime.

    Attributes:
        runtime: its name and version, for people.
        compute: pictures as the export takes them, NHWC -> TF-Slim endpoint -> array in TF-Slim's
            layout.
    """

    runtime: str
    compute: Callable[[Arrays], dict[str, Arrays]]
