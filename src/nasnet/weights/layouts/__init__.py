"""Names of the variables: TF-Slim's, and those of every published format, as tables.

Called by the readers and writers of weight files; computes nothing but names, layouts and classes.
"""

from __future__ import annotations

from nasnet.weights.layouts.classes import BACKGROUND_BIAS, with_classes
from nasnet.weights.layouts.layouts import LAYOUTS, Layout
from nasnet.weights.layouts.places import Place, places
from nasnet.weights.layouts.recognition import STEMS, Recognised, recognise

__all__ = [
    "BACKGROUND_BIAS",
    "LAYOUTS",
    "STEMS",
    "Layout",
    "Place",
    "Recognised",
    "places",
    "recognise",
    "with_classes",
]
