"""NASNet-A feature vectors: the TF-Hub module `nasnet_mobile/feature_vector/3` on today's Python.

The public API is what `__init__.pyi` beside this file lists; a name is imported when it is first
used, so that `import nasnet` costs next to nothing.
"""

import importlib
import re
from pathlib import Path

from nasnet._version import __version__ as __version__

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
# Public name -> the module it lives in.
_HOMES = {
    name: module
    for module, names in re.findall(r"^from (\S+) import (\([^)]*\)|.+)$", _STUB, re.MULTILINE)
    for name in re.findall(r"(\w+) as", names)
}
# Their module needs an extra to be imported: not for `from nasnet import *`.
_WITH_EXTRAS = {
    "LangChainEmbeddings",
    "LlamaIndexEmbedding",
    "NASNetClassifier",
    "NASNetFeatures",
}

__all__ = sorted(_HOMES.keys() - _WITH_EXTRAS)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nasnet' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
