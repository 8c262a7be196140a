"""Our decoded pixels beside those of libvips and ImageMagick, file by file.

    pip install pyvips pyvips-binary && apt-get install imagemagick
    python -m benchmarks.decoders FOLDER...
    python -m benchmarks.decoders --time FOLDER...   # where the time of JPEG files goes

Prints a row a format, then each file that neither agrees nor is refused by its name. Exit status
1 if any pixels differ from both. Neither of the two shares a line with Pillow or tifffile, though
the same C libraries (libtiff, libwebp) lie beneath some of their readers.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError
from nasnet.pictures.decode import Decoding, decode
from nasnet.pictures.decode.recognise import HEIF, TIFF, format_of
from nasnet.pictures.recipes import get_recipe, prepare
from nasnet.pictures.resize import pillow_bilinear
from nasnet.pictures.signature import signature

Rgba = npt.NDArray[np.float64]
# Levels of 255 by which a picture may be off on average, and at one value in a thousand. What is
# stored without loss: two levels at any value, where alpha is rounded. What is converted from YCbCr
# or ink differs by the arithmetic, most at the edges of colours.
_EXACT = (0.5, 2)
_TOLERANCE = {
    "JPEG": (1.0, 16),
    "WebP": (2.0, 40),
    "AVIF": (2.0, 40),
    "HEIF": (2.0, 40),
    "JPEG 2000": (1.0, 6),
}
_OUTCOMES = ("agree", "refused", "damaged", "alone", "DIFFER")


def by_vips(file: Path, *, upright: bool) -> Rgba:
    """[height, width, 4] in levels of 255, alpha in [0, 1]; libvips' own reader, first page."""
    import pyvips

    image = pyvips.Image.new_from_file(str(file))
    if "magick" in image.get("vips-loader"):
        raise ValueError("not read by libvips itself")
    if upright:
        image = image.autorot()
    kind = image.interpretation
    values = image.numpy().reshape(image.height, image.width, image.bands)
    return _rgba(values, inks=kind == "cmyk", deep=kind in ("rgb16", "grey16"))


def by_magick(file: Path, *, upright: bool) -> Rgba:
    """The same of ImageMagick: 16 bits of each channel, on no background."""
    turn = ["-auto-orient"] if upright else []
    size = subprocess.run(
        ["convert", f"{file}[0]", *turn, "-format", "%w %h %[colorspace]", "info:"],
        capture_output=True, check=True, timeout=60, text=True,
    )  # fmt: skip
    width, height, space = size.stdout.split()
    if space == "CMYK":
        raise ValueError("inks, which ImageMagick converts by a profile")
    raw = subprocess.run(
        ["convert", f"{file}[0]", *turn, "-depth", "16", "-endian", "LSB", "RGBA:-"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    values = np.frombuffer(raw.stdout, "<u2").reshape(int(height), int(width), 4)
    return _rgba(values, inks=False, deep=True)


def by_ffmpeg(file: Path, *, upright: bool) -> Rgba:
    """The same of FFmpeg, for formats that hold RGB: of others it converts the colours itself."""
    if file.suffix.lower() not in (".bmp", ".dib", ".qoi", ".ico", ".png") or upright:
        raise ValueError("not asked")
    found = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(file), "-frames:v", "1", "-c:v", "pam",
         "-pix_fmt", "rgba", "-f", "image2pipe", "-"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    head, pixels = found.stdout.split(b"ENDHDR\n", 1)
    sizes = dict(line.split(b" ", 1) for line in head.splitlines() if b" " in line)
    shape = int(sizes[b"HEIGHT"]), int(sizes[b"WIDTH"]), 4
    return _rgba(np.frombuffer(pixels, np.uint8).reshape(shape), inks=False, deep=False)


def _rgba(values: npt.NDArray[Any], *, inks: bool, deep: bool) -> Rgba:
    stated = values.dtype == np.uint16 or deep
    if stated:
        levels, top = (values.astype(np.int64) >> 8).astype(float), 255.0
    elif values.dtype == np.uint8:
        levels, top = values.astype(float), 255.0
    else:  # nothing says what white is: the rule of docs/preprocessing.md
        finite = np.where(np.isfinite(values), values, 0).astype(float)
        whites = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
        most = finite.max(initial=0)
        top = next((white for white in whites if most <= white), most)
        levels = np.rint(np.clip(finite / top, 0, 1) * 255)
    if inks:
        light = 255 - levels[..., :4]
        return np.dstack([light[..., :3] * light[..., 3:] / 255, np.ones(levels.shape[:2])])
    if levels.shape[2] < 3:
        levels = np.dstack([levels[..., :1]] * 3 + [levels[..., 1:]])
    alpha = levels[..., 3] / 255 if levels.shape[2] > 3 else np.ones(levels.shape[:2])
    return np.dstack([levels[..., :3], alpha])


def _plainly(reader: Callable[..., Rgba], file: Path, *, upright: bool) -> Rgba:
    try:
        return reader(file, upright=upright)
    except ValueError:
        raise
    except Exception as error:
        # Its own exceptions would load its libraries where ours are, which ends the process.
        raise RuntimeError(str(error)) from None


class Apart:
    """Calls a reader in a process of its own; lives as long as the run."""

    def __init__(self, reader: Callable[..., Rgba]) -> None:
        self._reader = reader
        self._pool = ProcessPoolExecutor(1)

    def __call__(self, file: Path, *, upright: bool) -> Rgba:
        try:
            return self._pool.submit(_plainly, self._reader, file, upright=upright).result(60)
        except BrokenProcessPool:
            self._pool = ProcessPoolExecutor(1)
            raise


_READERS = (("libvips", Apart(by_vips)), ("ImageMagick", by_magick), ("FFmpeg", by_ffmpeg))


def outcome(file: Path) -> tuple[str, str, str]:
    """A file's format, one of `_OUTCOMES`, and what is to be said of it."""
    data = file.read_bytes()
    try:
        found = format_of(data)
    except PictureError as error:
        return "others", "refused", str(error)
    turned = found in (TIFF, HEIF) or found.name == "AVIF"  # upright, whoever reads them
    try:
        ours = decode(data, Decoding(upright=turned, most=100_000_000), target=(1, 1)).pixels
        reason = ""
    except PictureError as error:
        reason = str(error)
        if not reason.startswith("truncated or damaged"):
            return found.name, "refused", reason
    mean, most = _TOLERANCE.get(found.name, _EXACT)
    told: list[str] = []
    for name, reader in _READERS:
        try:
            theirs = reader(file, upright=turned)
        except Exception as error:
            if not isinstance(error, ValueError):
                told.append(f"{name} fails")
            continue
        if reason:
            told.append(f"{name} reads it")
            continue
        alpha = theirs[..., 3:]
        white = theirs[..., :3] * alpha + 255 * (1 - alpha)
        if white.shape != ours.shape:
            told.append(f"{name} {white.shape[1]}x{white.shape[0]}")
            continue
        off = np.abs(np.rint(white) - ours)
        worst = np.quantile(off, 0.999) if found.name in _TOLERANCE else off.max()
        if off.mean() <= mean and worst <= most:
            return found.name, "agree", name
        told.append(f"{name} differs by {off.mean():.2f}, {off.max():.0f} at most")
    said = "; ".join([*filter(None, [reason]), *told])
    if reason:
        return found.name, "damaged", said
    return found.name, "DIFFER" if "differs" in said or "x" in said else "alone", said


def files(places: list[str]) -> Iterator[Path]:
    for place in places:
        yield from sorted(path for path in Path(place).rglob("*") if path.is_file())


def times(places: list[str], rounds: int = 5) -> None:
    """Core-milliseconds of the steps from a JPEG file to the network's input, least of rounds."""
    import simplejpeg

    recipe = get_recipe("photo")
    size = (224, 224)
    data = [file.read_bytes() for file in files(places)]
    data = [one for one in data if one.startswith(b"\xff\xd8\xff")]
    decoded = {one: decode(one, recipe.decoding, target=size).pixels for one in data}
    small = {one: pillow_bilinear(pixels, *size) for one, pixels in decoded.items()}
    steps: dict[str, Callable[[bytes], object]] = {
        "from file to input": lambda one: prepare(one, recipe, *size, signed=True),
        "decoded": lambda one: decode(one, recipe.decoding, target=size),
        # Next to nothing is transformed, nothing coloured: what is left is reading the code.
        "decoded at 1/8, grey": lambda one: simplejpeg.decode_jpeg(
            one, colorspace="GRAY", min_height=1, min_width=1
        ),
        "brought to size": lambda one: pillow_bilinear(decoded[one], *size),
        "signature": lambda one: signature(decoded[one], one, small[one]),
    }
    print(f"{len(data)} files of {np.mean([len(one) for one in data]) / 1e6:.2f} MB")
    print("| step | core-ms a picture |\n| --- | --- |")
    for name, step in steps.items():
        least = np.inf
        for _ in range(rounds):
            begun = time.thread_time()
            for one in data:
                step(one)
            least = min(least, time.thread_time() - begun)
        print(f"| {name} | {least / len(data) * 1000:.2f} |")


def main(places: list[str]) -> int:
    if places[:1] == ["--time"]:
        times(places[1:])
        return 0
    counts: dict[str, Counter[str]] = {}
    lines = []
    for file in files(places):
        kind, what, said = outcome(file)
        counts.setdefault(kind, Counter())[what] += 1
        if what not in ("agree", "refused"):
            lines.append(f"{what:8} {kind:10} {file}: {said}")
    print(f"| format | {' | '.join(_OUTCOMES)} |")
    for kind, found in sorted(counts.items()):
        print(f"| {kind} | {' | '.join(str(found[what]) for what in _OUTCOMES)} |")
    print(*lines, sep="\n")
    return int(any(found["DIFFER"] for found in counts.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
