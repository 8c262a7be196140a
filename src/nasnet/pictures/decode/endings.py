"""How files of each format are called: which are read, and which are pictures that are not.

What can be decoded is what is found in folders and archives: every room asks here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Formats that are read, called as their reasons call them.
READ: Mapping[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WebP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff", ".btf", ".tf8"),
    "JPEG 2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "QOI": (".qoi",),
    "ICO": (".ico",),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"),
}
# Pictures that are not read: each is a row with that reason, not a file passed over.
UNREAD: Mapping[str, tuple[str, ...]] = {
    "camera raw": (
        *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".sr2", ".srf", ".pef", ".srw"),
        *(".raf", ".rw2", ".rwl", ".orf", ".mrw", ".x3f", ".3fr", ".fff", ".iiq", ".dcr", ".kdc"),
        *(".erf", ".mef", ".mos"),
    ),
    "JPEG XL": (".jxl",),
    "JPEG XR": (".jxr", ".wdp", ".hdp"),
    "JPEG-LS": (".jls",),
    "PSD (Photoshop)": (".psd", ".psb"),
    "TGA": (".tga",),
    "OpenEXR": (".exr",),
    "Radiance HDR": (".hdr",),
    "DDS": (".dds",),
    "PAM": (".pam",),
    "PFM": (".pfm",),
    "PCX": (".pcx",),
    "DICOM": (".dcm", ".dicom"),
}
SUFFIXES = frozenset(ending for endings in READ.values() for ending in endings)
_PICTURES = SUFFIXES | {ending for endings in UNREAD.values() for ending in endings}


def ending_of(name: str | bytes) -> str:
    """The ending of a file's name in lower case, with its dot; empty if it has none."""
    stem, dot, ending = os.fsdecode(name).rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if stem and dot and ending else ""


def looks_like_picture(name: str | bytes) -> bool:
    """Whether a file's name ends like a picture's, be it one that is read or not."""
    return ending_of(name) in _PICTURES
