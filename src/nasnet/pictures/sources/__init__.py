"""Where pictures come from: a source becomes one ordered stream of items, or labelled examples.

Opening a source lists it; bytes are read later, in the threads that decode them.
"""

from __future__ import annotations

from nasnet.pictures.sources.again import items_again
from nasnet.pictures.sources.examples import Dataset, DatasetOptions, Example
from nasnet.pictures.sources.item import Item, Source, SourceOptions, id_of_path, path_of_id
from nasnet.pictures.sources.kept import OWN_COLUMNS
from nasnet.pictures.sources.labelled import open_dataset, open_examples
from nasnet.pictures.sources.opening import open_source, shard_name
from nasnet.pictures.sources.shards import Shard, Split, split_source

__all__ = [
    "OWN_COLUMNS",
    "Dataset",
    "DatasetOptions",
    "Example",
    "Item",
    "Shard",
    "Source",
    "SourceOptions",
    "Split",
    "id_of_path",
    "items_again",
    "open_dataset",
    "open_examples",
    "open_source",
    "path_of_id",
    "shard_name",
    "split_source",
]
