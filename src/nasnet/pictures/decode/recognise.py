"""Which format a file is of, told by how it starts; what is not read is named all the same."""

from __future__ import annotations

from typing import NamedTuple

from nasnet.errors import PictureError


class Format(NamedTuple):
    """A format that is read.

    Attributes:
        name: for people.
        module: of Pillow, that reads it; empty where it is not Pillow.
        kind: the class in that module. The classes are called without Image.open, which would try
            every plugin it has (EPS runs Ghostscript) and warn.
    """

    name: str
    module: str = ""
    kind: str = ""


PNM = Format("PNM")
HEIF = Format("HEIF")
PNG = Format("PNG", "PngImagePlugin", "PngImageFile")
TIFF = Format("TIFF", "TiffImagePlugin", "TiffImageFile")
_GIF = Format("GIF", "GifImagePlugin", "GifImageFile")
JPEG_2000 = Format("JPEG 2000", "Jpeg2KImagePlugin", "Jpeg2KImageFile")
_WEBP = Format("WebP", "WebPImagePlugin", "WebPImageFile")
_AVIF = Format("AVIF", "AvifImagePlugin", "AvifImageFile")

# How a file of each format starts.
_STARTS: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"BM", Format("BMP", "BmpImagePlugin", "BmpImageFile")),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (b"\xff\xd8\xff", Format("JPEG", "JpegImagePlugin", "JpegImageFile")),
    (b"\0\0\1\0", Format("ICO", "IcoImagePlugin", "IcoImageFile")),
    (b"qoif", Format("QOI", "QoiImagePlugin", "QoiImageFile")),
    *((b"P%d%c" % (kind, space), PNM) for kind in range(1, 7) for space in b" \n\r\t"),
)
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1"))

# Pictures that are not read: where to look, what stands there, and the name for the reason.
_UNREAD: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"8BPS", "PSD (Photoshop)"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"\x01\xda\x00", "SGI"),
    (0, b"\x01\xda\x01", "SGI"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"\x0a\x05\x01", "PCX"),
    (0, b"\0\0\2\0\0\0\0\0", "TGA"),
    (0, b"\0\0\3\0\0\0\0\0", "TGA"),
    (0, b"\0\0\x0a\0\0\0\0\0", "TGA"),
    (0, b"\0\0\2\0", "CUR (cursor)"),
    (0, b"icns", "ICNS"),
    (0, b"P7\n", "PAM"),
    (0, b"PF\n", "PFM"),
    (0, b"Pf\n", "PFM"),
    (0, b"gimp xcf", "XCF (GIMP)"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"FLIF", "FLIF"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%!PS", "PostScript or EPS"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"/* XPM */", "XPM"),
    (8, b"CR\x02\0", "camera raw (CR2)"),
    (4, b"ftypcrx ", "camera raw (CR3)"),
    (0, b"FUJIFILMCCD-RAW", "camera raw (RAF)"),
    (0, b"IIU\0", "camera raw (RW2)"),
    (0, b"IIRO", "camera raw (ORF)"),
    (0, b"IIRS", "camera raw (ORF)"),
    (0, b"MMOR", "camera raw (ORF)"),
)
_TGA_END = b"TRUEVISION-XFILE.\0"  # an older TGA file says nowhere what it is


def format_of(data: bytes) -> Format:
    """The format of a file.

    Raises:
        PictureError: it is no picture, or of a format that is not read; a short reason.
    """
    for place, mark, name in _UNREAD:
        if data.startswith(mark, place):
            raise PictureError(_unread(name))
    brands = _brands(data)
    avif = brands & {b"avif", b"avis"}
    if brands & _HEIF_BRANDS and not avif:  # first: its length may look like the start of an icon
        return HEIF
    for start, found in _STARTS:
        if data.startswith(start):
            return found
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _WEBP
    if avif:
        return _AVIF
    raise PictureError(_no_picture(data, brands))


def _brands(data: bytes) -> set[bytes]:
    """Brands of an ISO base media file: major and compatible ones."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}


def _unread(name: str) -> str:
    return f"not a picture format that nasnet reads: {name}; convert it to JPEG, PNG or TIFF"


def _no_picture(data: bytes, brands: set[bytes]) -> str:
    start = data[:512]
    words = start.lstrip().lower()
    if words[:5] in (b"<!doc", b"<html"):
        return "not a picture (a web page)"
    if start[:4] == b"%PDF":
        return "not a picture (PDF)"
    if words[:4] == b"<svg" or (words[:5] == b"<?xml" and b"<svg" in words):
        return _unread("SVG")
    if data.endswith(_TGA_END):
        return _unread("TGA")
    if brands:
        return "not a picture (a video, or of an unknown format)"
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < 500:  # not only a letter cut in two at the end
            return "not a picture, or of an unknown format"
    return (
        "not a picture (text)" if b"\0" not in start else "not a picture, or of an unknown format"
    )
