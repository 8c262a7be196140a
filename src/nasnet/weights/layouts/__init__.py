"""Names of the variables: TF-Slim's, and those of every published format, as tables.

Computes nothing but names and axes; what a file of a format looks like is in `formats`.
"""

from __future__ import annotations

from nasnet.weights.layouts.naming import STEMS, Recognised, arrays_in, places, recognise
from nasnet.weights.layouts.tables import LAYOUTS

__all__ = [
    "LAYOUTS",
    "STEMS",
    "Recognised",
    "arrays_in",
    "places",
    "recognise",
]
