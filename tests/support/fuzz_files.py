"""One good file of each kind that is read, small, with what reads it: the fuzzer damages them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
from PIL import Image

import nasnet
from nasnet.errors import PictureError
from nasnet.features.store.formats import FORMATS
from nasnet.features.stored import read_stored
from nasnet.pictures.decode import decode, measure
from nasnet.pictures.recipes import get_recipe
from nasnet.pictures.sources import open_examples
from nasnet.pictures.sources.opening import open_source
from nasnet.train.recipe_files import read_recipe
from nasnet.weights.module_folder import ModuleFolder, write_folder
from nasnet.weights.opening import open_path
from nasnet.weights.weights import seeded
from tests.support import pictures
from tests.support.feature_sets import features, table_of
from tests.support.golden_seed import make_hub_module
from tests.support.weight_files import KINDS, NEAR, make

__all__ = ["Case", "cases"]


@dataclass(frozen=True, slots=True)
class Case:
    """A good file.

    Attributes:
        name: for people.
        path: the file that is damaged.
        folder: it and what lies beside it.
        read: reads it in another folder like this one.
    """

    name: str
    path: Path
    folder: Path
    read: Callable[[Path], object]


def cases(folder: Path, *, small: bool = False) -> Iterator[Case]:
    """One of each kind, made in a folder; if `small` only those of up to a megabyte."""
    for number, (name, file, data, read) in enumerate(_files()):
        place = folder / f"{number:03d}"
        path = place / file
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        yield Case(name, path, place, partial(_read_in, read, file))
    yield from _sets(folder)
    yield from _indexes(folder)
    yield from _weights(folder, small=small)


def _read_in(read: Callable[[Path], object], file: str | Path, folder: Path) -> object:
    return read(folder / file)


# -- pictures


def _picture(path: Path) -> None:
    data = path.read_bytes()
    for name in ("photo", "tf1-hub"):
        decode(data, get_recipe(name).decoding, target=(224, 224))
    measure(data)


def _pictures() -> Iterator[tuple[str, bytes]]:
    picture = pictures.pixels(24, 32)
    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = image.convert("RGBA")
    clear.putalpha(128)
    deep = Image.fromarray(picture[..., 0].astype(np.uint16) * 257)
    for name, one, format, options in (
        ("a JPEG", image, "JPEG", {"exif": exif}),
        ("a progressive JPEG", image, "JPEG", {"progressive": True}),
        ("a CMYK JPEG", image.convert("CMYK"), "JPEG", {}),
        ("a grey JPEG", image.convert("L"), "JPEG", {}),
        ("a PNG", image, "PNG", {"exif": exif}),
        ("a PNG of 16 bits", deep, "PNG", {}),
        ("a PNG with a palette", image.quantize(16), "PNG", {"transparency": 3}),
        ("a PNG with alpha", clear, "PNG", {}),
        ("a GIF", image.quantize(16), "GIF", {"save_all": True, "append_images": [image]}),
        ("a WebP", image, "WEBP", {}),
        ("a WebP without loss", clear, "WEBP", {"lossless": True}),
        ("a BMP", image, "BMP", {}),
        ("a BMP with a palette", image.quantize(16), "BMP", {}),
        ("a TIFF", image, "TIFF", {}),
        ("a TIFF by LZW", image, "TIFF", {"compression": "tiff_lzw"}),
        ("a TIFF by JPEG", image, "TIFF", {"compression": "jpeg"}),
        ("a TIFF of 16 bits", deep, "TIFF", {}),
        ("a TIFF of 1 bit", image.convert("1"), "TIFF", {"compression": "group4"}),
        ("a PPM", image, "PPM", {}),
        ("a PGM of 16 bits", deep, "PPM", {}),
        ("a JPEG 2000", image, "JPEG2000", {}),
        ("an ICO", image, "ICO", {"sizes": [(16, 16)]}),
        ("a QOI", image, "QOI", {}),
        ("an AVIF", image, "AVIF", {}),
    ):
        yield name, pictures.encoded(one, format, **options)
    yield "a planar TIFF", pictures.tiff(picture.transpose(2, 0, 1), planarconfig="separate")
    try:
        import pillow_heif
    except ImportError:
        return
    made = io.BytesIO()
    pillow_heif.from_pillow(image).save(made)
    yield "a HEIC", made.getvalue()


# -- sources


def _source(path: Path) -> None:
    for number, item in enumerate(open_source(str(path))):
        try:
            item.read()
        except PictureError:
            continue
        if number > 100:
            return


def _dataset(path: Path) -> None:
    _, examples, _ = open_examples(str(path))
    for example in examples[:50]:
        try:
            example.read()
        except PictureError:
            continue


def _tar(mode: Any) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for number in range(4):
            for name, data in (
                (f"{number:04d}.jpg", pictures.jpeg(8, 8, seed=number)),
                (f"{number:04d}.cls", str(number % 2).encode()),
                (f"{number:04d}.json", json.dumps({"label": number % 2}).encode()),
            ):
                info = tarfile.TarInfo("a/" * 3 + name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"a/{number}.jpg", pictures.jpeg(8, 8, seed=number))
    return made.getvalue()


def _table() -> pyarrow.Table:
    data = [{"bytes": pictures.jpeg(8, 8, seed=n), "path": f"{n}.jpg"} for n in range(8)]
    described = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    table = pyarrow.table({"image": data, "label": [0, 1] * 4, "split": ["train"] * 8})
    metadata = json.dumps({"info": {"features": described}}).encode()
    return table.replace_schema_metadata({b"huggingface": metadata})


def _written(write: Callable[[pyarrow.Table, Any], object]) -> bytes:
    made = io.BytesIO()
    write(_table(), made)
    return made.getvalue()


def _stream(table: pyarrow.Table, made: Any) -> None:
    with pyarrow.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table)


def _files() -> Iterator[tuple[str, str, bytes, Callable[[Path], object]]]:
    for name, data in _pictures():
        yield name, "picture", data, _picture
    tables: dict[str, tuple[str, bytes]] = {
        "Parquet": ("x.parquet", _written(pyarrow.parquet.write_table)),
        "Arrow": ("x.arrow", _written(pyarrow.feather.write_feather)),
        "an Arrow stream": ("x.arrow", _written(_stream)),
        "a tar": ("x.tar", _tar("w")),
        "a CSV": ("x.csv", b"image,label,split\n" + b'"a.jpg",cat,train\nb.jpg,dog,test\n' * 3),
    }
    for name, (file, data) in tables.items():
        yield f"{name} as a source", file, data, _source
        yield f"{name} as data with labels", file, data, _dataset
    yield "a tar.gz as a source", "x.tar.gz", _tar("w:gz"), _source
    yield "a zip as a source", "x.zip", _zip(), _source
    yield "a list as a source", "x.txt", "a.jpg\nfile:///b%20c.jpg\né/d.png\n".encode(), _source
    recipe = Path(nasnet.__file__).parent / "data" / "mobile.toml"
    yield "a recipe", "x.toml", recipe.read_bytes(), read_recipe


# -- feature sets and indexes


def _sets(folder: Path) -> Iterator[Case]:
    found = features(40)
    table = table_of(found)
    for suffix in (".parquet", ".arrow", ".npy"):
        place = folder / f"set{suffix}"
        place.mkdir()
        FORMATS[suffix].write(place / f"x{suffix}", table.schema, 40, iter([table]))
        for path in sorted(place.iterdir()):

            def read(where: Path, name: str = f"x{suffix}") -> object:
                return read_stored(where / name)

            yield Case(f"a feature set's {path.name}", path, place, read)


def _indexes(folder: Path) -> Iterator[Case]:
    try:
        import faiss  # noqa: F401
    except ImportError:
        return
    place = folder / "index"
    nasnet.build_index(features(300), place / "i", kind="ivf")
    query = features(1).vectors

    def read(where: Path) -> object:
        return nasnet.open_index(where / "i").nearest(query)

    for path in sorted((place / "i").iterdir()):
        if path.is_file():
            yield Case(f"an index's {path.suffixes}", path, place, read)


# -- weights


_SMALL = 1 << 20  # bytes
_OF_SMALL_PARTS = ("checkpoint", "hub v4 SavedModel", "tfjs")


def _weights(folder: Path, *, small: bool) -> Iterator[Case]:
    weights = seeded(4)
    for name in _OF_SMALL_PARTS if small else (*KINDS, *NEAR):
        place = _new(folder / name)
        path = make(name, place, weights) if name in KINDS else NEAR[name](place, weights)
        relative = path.relative_to(place)
        for file in sorted(one for one in place.rglob("*") if one.is_file()):
            if small and file.stat().st_size > _SMALL:
                continue
            yield Case(
                f"{name}: {file.relative_to(place)}",
                file,
                place,
                partial(_read_in, open_path, relative),
            )
    place = _new(folder / "module")
    cifar = seeded(4, spec="cifar")
    module = ModuleFolder(weights=cifar, task="classification", height=40, width=48)
    write_folder(module, place / "m")
    for file in sorted((place / "m").iterdir()):
        if small and file.stat().st_size > _SMALL:
            continue
        yield Case(f"a module's {file.name}", file, place, partial(_read_in, open_path, "m"))
    place = folder / "hub"
    make_hub_module(_new(place))
    for file in (place / "saved_model.pb", place / "variables" / "variables.index"):
        yield Case(f"a TF-Hub module's {file.name}", file, place, open_path)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
