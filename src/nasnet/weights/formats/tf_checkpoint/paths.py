"""From what a user types to the prefix of a checkpoint: file, folder, prefix or state file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nasnet.errors import WeightsError, os_errors
from nasnet.weights.formats.tf_checkpoint.sstable import has_magic

_STATE_FILE = "checkpoint"  # the text file in which TensorFlow notes the newest checkpoint
_MAX_STATE = 1 << 20
_DATA_FILE = re.compile(r"\.data-\d{5}-of-\d{5}$")
_STATE_LINE = re.compile(rb'^\s*model_checkpoint_path\s*:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")  # text protos write non-ASCII bytes in octal

V1_REFUSAL = (
    "is a checkpoint in TensorFlow's old V1 format; restore it in TensorFlow and save it again "
    "with tf.compat.v1.train.Saver(write_version=2), which makes .index and .data files"
)


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a path looks like a TensorFlow checkpoint that `resolve_prefix` should see.

    It is True for the old V1 format too, so that it is refused by its name. Never raises.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _has_state(path) or bool(_indices(path)) or _old_checkpoint(path) is not None
        if _index(path).is_file():
            return True
        if not path.is_file():
            return False
        if path.suffix == ".index" or _DATA_FILE.search(path.name) or path.name == _STATE_FILE:
            return True
        return has_magic(path)
    except (OSError, ValueError):  # ValueError: a null character in the path
        return False


def resolve_prefix(path: str | os.PathLike[str]) -> Path:
    """Find the prefix of a checkpoint, the path without `.index` and `.data-…`.

    Args:
        path: the prefix itself, its `.index` file, one of its `.data-?????-of-?????` files, the
            `checkpoint` state file beside it, or the folder it lies in.

    Raises:
        WeightsError: there is none, there are several to choose from, or it is in the V1 format.
    """
    path = Path(path)
    with os_errors(WeightsError, f"{path}: cannot be read"):
        return _resolve(path)


def _resolve(path: Path) -> Path:
    if path.is_dir():
        return _from_state(path / _STATE_FILE) if _has_state(path) else _only_index(path)
    if _index(path).is_file():
        return path
    if path.name == _STATE_FILE and path.is_file() and not has_magic(path):
        return _from_state(path)
    data_file = _DATA_FILE.search(path.name)
    if path.suffix == ".index" or data_file:
        cut = path.name[: data_file.start()] if data_file else path.stem
        prefix = path.with_name(cut) if cut else path
        if cut and _index(prefix).is_file():
            return prefix
        raise WeightsError(f"{_index(prefix)} is missing; a checkpoint needs it beside its data")
    if not path.exists():
        raise WeightsError(
            f"{path}: no such checkpoint; neither this path nor {_index(path).name} exists"
        )
    if has_magic(path):
        raise WeightsError(f"{path} {V1_REFUSAL}; if it is a V2 index, its name must end in .index")
    raise WeightsError(f"{path} is not a TensorFlow checkpoint; give its prefix or .index file")


def _only_index(folder: Path) -> Path:
    indices = _indices(folder)
    if len(indices) == 1:
        return indices[0].with_suffix("")
    if indices:
        some = ", ".join(index.stem for index in indices[:4])
        more = "" if len(indices) <= 4 else f" and {len(indices) - 4} more"
        raise WeightsError(f"{folder} holds several checkpoints, name one: {some}{more}")
    old = _old_checkpoint(folder)
    if old is not None:
        raise WeightsError(f"{old} {V1_REFUSAL}")
    raise WeightsError(f"{folder} holds no TensorFlow checkpoint (no file ending in .index)")


def _from_state(state: Path) -> Path:
    """The checkpoint that a state file names; moved folders keep working."""
    with state.open("rb") as file:
        match = _STATE_LINE.search(file.read(_MAX_STATE))
    if match is None:
        raise WeightsError(f"{state} names no checkpoint (no line model_checkpoint_path)")
    named = Path(os.fsdecode(_ESCAPE.sub(_unescaped, match[1])))
    for candidate in (state.parent / named, state.parent / named.name):
        if named.name and _index(candidate).is_file():
            return candidate
        if has_magic(candidate):
            raise WeightsError(f"{candidate} {V1_REFUSAL}")
    if len(_indices(state.parent)) == 1:
        return _only_index(state.parent)
    raise WeightsError(f"{state} names {str(named)!r}, but {_index(named).name} is not there")


def _unescaped(match: re.Match[bytes]) -> bytes:
    escaped: bytes = match[1]
    return bytes([int(escaped, 8) & 0xFF]) if len(escaped) == 3 else escaped


def _index(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index") if prefix.name else prefix


def _indices(folder: Path) -> list[Path]:
    found = (file for file in folder.glob("?*.index") if file.is_file())
    return sorted(found, key=lambda file: file.stem)


def _old_checkpoint(folder: Path) -> Path | None:
    """A V1 checkpoint, one file without an ending; looked for under its usual names only."""
    return next((file for file in sorted(folder.glob("*ckpt*")) if has_magic(file)), None)


def _has_state(folder: Path) -> bool:
    state = folder / _STATE_FILE
    return state.is_file() and not has_magic(state)
