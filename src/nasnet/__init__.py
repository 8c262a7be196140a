"""NASNet-A feature vectors: the TF-Hub module `nasnet_mobile/feature_vector/3` on today's Python.

The public API is what this file exports; a name is imported when it is first used, so that
`import nasnet` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nasnet._version import __version__

if TYPE_CHECKING:
    from nasnet.compute.engine import EngineOptions
    from nasnet.errors import (
        ClusterError,
        FetchError,
        InputError,
        MissingExtraError,
        NasnetError,
        OutputError,
        PictureError,
        SignatureError,
        SourceError,
        TrainingError,
        UnsupportedError,
        WeightsError,
    )
    from nasnet.exporting.convert import Conversion, convert
    from nasnet.exporting.export import Exported, ExportOptions, export
    from nasnet.features.classify import Classified, ClassifyOptions, Guess, classify
    from nasnet.features.cluster import (
        ClusterEvent,
        ClusterOptions,
        ClusterSummary,
        embed_on_cluster,
    )
    from nasnet.features.embed import (
        EmbedEvent,
        EmbedOptions,
        EmbedSummary,
        embed,
        embed_batches,
        embed_to_file,
    )
    from nasnet.features.extractor import Extractor
    from nasnet.features.feature_set import Features, read_features
    from nasnet.features.index import (
        Index,
        add_to_index,
        build_index,
        near_duplicates,
        open_index,
        outliers,
        picture_vectors,
    )
    from nasnet.features.map_page import MapOptions, write_map
    from nasnet.features.store import SinkOptions
    from nasnet.features.store.merge import MergeSummary, merge
    from nasnet.hub.module import (
        Module,
        eval_function_for_module,
        get_expected_image_size,
        get_num_image_channels,
    )
    from nasnet.hub.signatures import ImageModuleInfo, TensorInfo, Variable
    from nasnet.hub.spec import ModuleSpec, load_module_spec, resolve
    from nasnet.pictures.labelled import DatasetOptions
    from nasnet.pictures.recipes import RECIPES, Recipe
    from nasnet.pictures.sources import SourceOptions
    from nasnet.train.estimator import NASNetClassifier as NASNetClassifier
    from nasnet.train.estimator import NASNetFeatures as NASNetFeatures
    from nasnet.train.evaluate import EvaluateOptions, Evaluation, evaluate
    from nasnet.train.finetune import finetune
    from nasnet.train.finetune_options import FinetuneOptions, FinetuneSummary
    from nasnet.weights.fetch import FetchEvent, FetchOptions


# Public name -> the room it lives in.
_ROOMS = {
    "ClusterError": "errors",
    "ClusterEvent": "features.cluster",
    "ClusterOptions": "features.cluster",
    "ClusterSummary": "features.cluster",
    "Classified": "features.classify",
    "ClassifyOptions": "features.classify",
    "Conversion": "exporting.convert",
    "DatasetOptions": "pictures.labelled",
    "EmbedEvent": "features.embed",
    "EmbedOptions": "features.embed",
    "EmbedSummary": "features.embed",
    "EngineOptions": "compute.engine",
    "EvaluateOptions": "train.evaluate",
    "Evaluation": "train.evaluate",
    "ExportOptions": "exporting.export",
    "Exported": "exporting.export",
    "Extractor": "features.extractor",
    "Features": "features.feature_set",
    "FetchError": "errors",
    "FetchEvent": "weights.fetch",
    "FetchOptions": "weights.fetch",
    "FinetuneOptions": "train.finetune_options",
    "FinetuneSummary": "train.finetune_options",
    "Guess": "features.classify",
    "ImageModuleInfo": "hub.signatures",
    "Index": "features.index",
    "InputError": "errors",
    "MapOptions": "features.map_page",
    "MissingExtraError": "errors",
    "MergeSummary": "features.store.merge",
    "Module": "hub.module",
    "ModuleSpec": "hub.spec",
    "NasnetError": "errors",
    "OutputError": "errors",
    "PictureError": "errors",
    "RECIPES": "pictures.recipes",
    "Recipe": "pictures.recipes",
    "SignatureError": "errors",
    "SinkOptions": "features.store",
    "SourceError": "errors",
    "SourceOptions": "pictures.sources",
    "TensorInfo": "hub.signatures",
    "TrainingError": "errors",
    "UnsupportedError": "errors",
    "Variable": "hub.signatures",
    "WeightsError": "errors",
    "add_to_index": "features.index",
    "build_index": "features.index",
    "classify": "features.classify",
    "convert": "exporting.convert",
    "embed": "features.embed",
    "embed_batches": "features.embed",
    "embed_on_cluster": "features.cluster",
    "embed_to_file": "features.embed",
    "eval_function_for_module": "hub.module",
    "evaluate": "train.evaluate",
    "export": "exporting.export",
    "finetune": "train.finetune",
    "get_expected_image_size": "hub.module",
    "get_num_image_channels": "hub.module",
    "load_module_spec": "hub.spec",
    "merge": "features.store.merge",
    "near_duplicates": "features.index",
    "open_index": "features.index",
    "outliers": "features.index",
    "picture_vectors": "features.index",
    "read_features": "features.feature_set",
    "resolve": "hub.spec",
    "write_map": "features.map_page",
}
# Alike, but the room needs an extra to be imported: not for `from nasnet import *`.
_ROOMS_WITH_EXTRAS = {
    "NASNetClassifier": "train.estimator",
    "NASNetFeatures": "train.estimator",
}

__all__ = [
    "RECIPES",
    "Classified",
    "ClassifyOptions",
    "ClusterError",
    "ClusterEvent",
    "ClusterOptions",
    "ClusterSummary",
    "Conversion",
    "DatasetOptions",
    "EmbedEvent",
    "EmbedOptions",
    "EmbedSummary",
    "EngineOptions",
    "EvaluateOptions",
    "Evaluation",
    "ExportOptions",
    "Exported",
    "Extractor",
    "Features",
    "FetchError",
    "FetchEvent",
    "FetchOptions",
    "FinetuneOptions",
    "FinetuneSummary",
    "Guess",
    "ImageModuleInfo",
    "Index",
    "InputError",
    "MapOptions",
    "MergeSummary",
    "MissingExtraError",
    "Module",
    "ModuleSpec",
    "NasnetError",
    "OutputError",
    "PictureError",
    "Recipe",
    "SignatureError",
    "SinkOptions",
    "SourceError",
    "SourceOptions",
    "TensorInfo",
    "TrainingError",
    "UnsupportedError",
    "Variable",
    "WeightsError",
    "__version__",
    "add_to_index",
    "build_index",
    "classify",
    "convert",
    "embed",
    "embed_batches",
    "embed_on_cluster",
    "embed_to_file",
    "eval_function_for_module",
    "evaluate",
    "export",
    "finetune",
    "get_expected_image_size",
    "get_num_image_channels",
    "load_module_spec",
    "merge",
    "near_duplicates",
    "open_index",
    "outliers",
    "picture_vectors",
    "read_features",
    "resolve",
    "write_map",
]


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name) or _ROOMS_WITH_EXTRAS.get(name)
    if room is None:
        raise AttributeError(f"module 'nasnet' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"nasnet.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
