"""Weights out into every published weight file, atomically; `nasnet convert` in Python.

Called by the command line and by users; what runs a network elsewhere is another room's work.
"""

from __future__ import annotations

from nasnet.conversion.converting import Conversion, ConvertOptions, convert, format_of
from nasnet.conversion.formats import FORMATS, Format

__all__ = ["FORMATS", "Conversion", "ConvertOptions", "Format", "convert", "format_of"]
