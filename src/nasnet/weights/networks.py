"""Networks by name, code or file: wherever a network is asked for, it is found here."""

from __future__ import annotations

import os
from pathlib import Path

from nasnet.errors import InputError
from nasnet.network.code import decode, from_table, is_code, to_toml
from nasnet.network.spec import PRESETS, Spec
from nasnet.system import write_whole
from nasnet.text import read_toml


def network_of(network: str | os.PathLike[str] | Spec) -> Spec:
    """A network of the family or of one's own.

    Args:
        network: a preset's name (`mobile`, `large`, `cifar`), a code of one line, the path of a
            network file such as `best.toml`, or a row, which is given back.

    Raises:
        InputError: there is no such preset or file, or what is there describes no network.
    """
    if isinstance(network, Spec):
        return network
    text = os.fspath(network)
    if is_code(text):
        return decode(text)
    if not Path(text).is_file():
        raise InputError(
            f"no preset {text!r}; there are {', '.join(PRESETS)}. It is not the code of a network, "
            "and no file is called so"
        )
    return read_network(text)[0]


def read_network(path: str | os.PathLike[str]) -> tuple[Spec, str]:
    """A network file: the network, and where it comes from.

    Raises:
        InputError: the file cannot be read, or describes no network; the text names the place.
    """
    return from_table(read_toml(Path(path), InputError), str(path))


def write_network(path: str | os.PathLike[str], spec: Spec, *, origin: str = "") -> None:
    """Write a network file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_whole(Path(path), to_toml(spec, origin=origin).encode())
