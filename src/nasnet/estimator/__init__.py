"""scikit-learn's side: pictures in, vectors or classes out, with its conventions for estimators.

Imported by `nasnet.NASNetFeatures` and `nasnet.NASNetClassifier` when first used; needs the extra
`sklearn`.
"""

from __future__ import annotations

from nasnet.estimator.classifier import NASNetClassifier
from nasnet.estimator.transformer import NASNetFeatures

__all__ = ["NASNetClassifier", "NASNetFeatures"]
