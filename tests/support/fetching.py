"""A hub module as an archive, and the names it is published under."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from nasnet.errors import WeightsError

HANDLE = "https://tfhub.dev/google/imagenet/nasnet_mobile/feature_vector/3"
SHA1 = "621287f76099453721c445e40dce864314f3f7fa"
PATH = "/google/imagenet/nasnet_mobile/feature_vector/3"
TARBALL = f"{PATH}.tar.gz"
COMPRESSED = f"{PATH}?tf-hub-format=compressed"
SLIM = "/nasnet-a_mobile_04_10_2017.tar.gz"
MODULE = {
    "saved_model.pb": b"graph",
    "tfhub_module.pb": b"\x08\x03",
    "variables/variables.data-00000-of-00001": os.urandom(300_000),
}


def pack(files: dict[str, bytes] = MODULE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for folder in sorted({str(Path(name).parent) for name in files} - {"."}):
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


ARCHIVE = pack()


def verify(path: Path) -> None:
    """Stands for the reader of weights: wants a module of this test."""
    if not (path / "tfhub_module.pb").is_file():
        raise WeightsError(f"{path}: no module in it")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def archive(folder: Path) -> bytes:
    """What the server of the modules sent: the folder's content, gzipped tar, paths from `./`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        tar.add(folder, arcname=".")
    return buffer.getvalue()
