"""NASNet-A feature vectors: the TF-Hub module `nasnet_mobile/feature_vector/3` on today's Python.

The public API is what this file exports; a name is imported when it is first used, so that
`import nasnet` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasnet.classifying import Classified, ClassifyOptions, Guess, classify
    from nasnet.conversion import Conversion, ConvertOptions, convert
    from nasnet.dataset import DatasetOptions
    from nasnet.embedding import (
        EmbedEvent,
        EmbedOptions,
        EmbedSummary,
        embed,
        embed_batches,
        embed_to_file,
    )
    from nasnet.engine import EngineOptions
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
    from nasnet.estimator import NASNetClassifier as NASNetClassifier
    from nasnet.estimator import NASNetFeatures as NASNetFeatures
    from nasnet.evaluation import EvaluateOptions, Evaluation, evaluate
    from nasnet.exporting import Exported, ExportOptions, export
    from nasnet.features import Features, read_features
    from nasnet.fetch import FetchEvent, FetchOptions
    from nasnet.finetuning import FinetuneOptions, FinetuneSummary, finetune
    from nasnet.index import (
        Index,
        IndexOptions,
        add_to_index,
        build_index,
        near_duplicates,
        open_index,
        outliers,
        picture_vectors,
    )
    from nasnet.mapping import MapOptions, write_map
    from nasnet.merging import MergeOptions, MergeSummary, merge
    from nasnet.module import (
        Module,
        eval_function_for_module,
        get_expected_image_size,
        get_num_image_channels,
    )
    from nasnet.module_spec import ModuleSpec, load_module_spec, resolve
    from nasnet.recipes import RECIPES, Recipe
    from nasnet.scale import ClusterEvent, ClusterOptions, ClusterSummary, embed_on_cluster
    from nasnet.signatures import ImageModuleInfo, TensorInfo, Variable
    from nasnet.sink import SinkOptions
    from nasnet.source import SourceOptions

__version__ = "0.1.0"

# Public name -> the room it lives in.
_ROOMS = {
    "ClusterError": "errors",
    "ClusterEvent": "scale",
    "ClusterOptions": "scale",
    "ClusterSummary": "scale",
    "Classified": "classifying",
    "ClassifyOptions": "classifying",
    "Conversion": "conversion",
    "ConvertOptions": "conversion",
    "DatasetOptions": "dataset",
    "EmbedEvent": "embedding",
    "EmbedOptions": "embedding",
    "EmbedSummary": "embedding",
    "EngineOptions": "engine",
    "EvaluateOptions": "evaluation",
    "Evaluation": "evaluation",
    "ExportOptions": "exporting",
    "Exported": "exporting",
    "Features": "features",
    "FetchError": "errors",
    "FetchEvent": "fetch",
    "FetchOptions": "fetch",
    "FinetuneOptions": "finetuning",
    "FinetuneSummary": "finetuning",
    "Guess": "classifying",
    "ImageModuleInfo": "signatures",
    "Index": "index",
    "IndexOptions": "index",
    "InputError": "errors",
    "MapOptions": "mapping",
    "MissingExtraError": "errors",
    "MergeOptions": "merging",
    "MergeSummary": "merging",
    "Module": "module",
    "ModuleSpec": "module_spec",
    "NasnetError": "errors",
    "OutputError": "errors",
    "PictureError": "errors",
    "RECIPES": "recipes",
    "Recipe": "recipes",
    "SignatureError": "errors",
    "SinkOptions": "sink",
    "SourceError": "errors",
    "SourceOptions": "source",
    "TensorInfo": "signatures",
    "TrainingError": "errors",
    "UnsupportedError": "errors",
    "Variable": "signatures",
    "WeightsError": "errors",
    "add_to_index": "index",
    "build_index": "index",
    "classify": "classifying",
    "convert": "conversion",
    "embed": "embedding",
    "embed_batches": "embedding",
    "embed_on_cluster": "scale",
    "embed_to_file": "embedding",
    "eval_function_for_module": "module",
    "evaluate": "evaluation",
    "export": "exporting",
    "finetune": "finetuning",
    "get_expected_image_size": "module",
    "get_num_image_channels": "module",
    "load_module_spec": "module_spec",
    "merge": "merging",
    "near_duplicates": "index",
    "open_index": "index",
    "outliers": "index",
    "picture_vectors": "index",
    "read_features": "features",
    "resolve": "module_spec",
    "write_map": "mapping",
}
# Alike, but the room needs an extra to be imported: not for `from nasnet import *`.
_ROOMS_WITH_EXTRAS = {
    "NASNetClassifier": "estimator",
    "NASNetFeatures": "estimator",
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
    "ConvertOptions",
    "DatasetOptions",
    "EmbedEvent",
    "EmbedOptions",
    "EmbedSummary",
    "EngineOptions",
    "EvaluateOptions",
    "Evaluation",
    "ExportOptions",
    "Exported",
    "Features",
    "FetchError",
    "FetchEvent",
    "FetchOptions",
    "FinetuneOptions",
    "FinetuneSummary",
    "Guess",
    "ImageModuleInfo",
    "Index",
    "IndexOptions",
    "InputError",
    "MapOptions",
    "MergeOptions",
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
