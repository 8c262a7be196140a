"""What a run folder is a run of: written once, compared when the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasnet._version import __version__
from nasnet.errors import InputError
from nasnet.pictures.sources import Dataset
from nasnet.system import write_whole
from nasnet.text import read_toml, toml

_REMEDY = "name another folder, or start anew with --overwrite"


def begin(path: Path, *, data: Dataset, parts: Mapping[str, Any]) -> None:
    """Write what a run is, or refuse to go on with another one.

    Parts are values, lists or tables; None is left out.

    Raises:
        InputError: a value differs from the file's; the text names it.
        OutputError: it cannot be written.
    """
    table = {"nasnet": __version__, "data": data.name, "fingerprint": data.fingerprint, **parts}
    if not path.exists():
        write_whole(path, toml(table).encode())
        return
    before = read_toml(path, InputError)
    folder = path.parent
    if before.get("fingerprint") != data.fingerprint:
        raise InputError(
            f"{folder} is a run on {before.get('data')} with other pictures than {data.name} has "
            f"now: {_REMEDY}"
        )
    for part, here in parts.items():
        there = before.get(part)
        for name, one, other in _pairs(part, there, here):
            if one != other:
                raise InputError(f"{folder} is a run with {name} {one}, not {other}: {_REMEDY}")


def _pairs(part: str, there: object, here: object) -> list[tuple[str, object, object]]:
    """What is compared: values, and those of tables one by one."""
    if isinstance(there, dict) and isinstance(here, Mapping):
        names = dict.fromkeys((*there, *here))
        return [(str(name), there.get(name), here.get(name)) for name in names]
    return [(part, there, here)]
