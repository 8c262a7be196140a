"""scikit-learn's side: pictures in, vectors or classes out, with its conventions for estimators.

Needs the extra `sklearn`.
"""

from __future__ import annotations

from nasnet.errors import needs

needs("sklearn", extra="sklearn")  # before the files below, whose classes inherit from its own

from nasnet.train.estimator.classifier import NASNetClassifier  # noqa: E402
from nasnet.train.estimator.transformer import NASNetFeatures  # noqa: E402

__all__ = ["NASNetClassifier", "NASNetFeatures"]
