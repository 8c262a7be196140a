"""The public names of the package and where each lives; `__init__.py` imports them when used.

Type checkers and editors read this file; a name is public by standing here, and only here.
"""

from nasnet._version import __version__ as __version__
from nasnet.compute.engine import EngineOptions as EngineOptions
from nasnet.errors import (
    ClusterError as ClusterError,
    FetchError as FetchError,
    InputError as InputError,
    MissingExtraError as MissingExtraError,
    NasnetError as NasnetError,
    OutputError as OutputError,
    PictureError as PictureError,
    SignatureError as SignatureError,
    SourceError as SourceError,
    TrainingError as TrainingError,
    UnsupportedError as UnsupportedError,
    WeightsError as WeightsError,
)
from nasnet.exporting.convert import (
    Conversion as Conversion,
    convert as convert,
)
from nasnet.exporting.export import (
    Exported as Exported,
    ExportOptions as ExportOptions,
    export as export,
)
from nasnet.exporting.hub_upload import push_to_hub as push_to_hub
from nasnet.features.adopt import Adopted as Adopted, adopt as adopt
from nasnet.features.classify import (
    Classified as Classified,
    ClassifyOptions as ClassifyOptions,
    Guess as Guess,
    classify as classify,
)
from nasnet.features.cluster.options import (
    ClusterEvent as ClusterEvent,
    ClusterOptions as ClusterOptions,
    ClusterSummary as ClusterSummary,
)
from nasnet.features.cluster.running import embed_on_cluster as embed_on_cluster
from nasnet.features.embed import (
    EmbedEvent as EmbedEvent,
    EmbedOptions as EmbedOptions,
    EmbedSummary as EmbedSummary,
    embed as embed,
    embed_batches as embed_batches,
    embed_to_file as embed_to_file,
)
from nasnet.features.extractor import Extractor as Extractor
from nasnet.features.feature_set import (
    Features as Features,
    read_features as read_features,
)
from nasnet.features.index import (
    Index as Index,
    add_to_index as add_to_index,
    build_index as build_index,
    near_duplicates as near_duplicates,
    open_index as open_index,
    outliers as outliers,
    picture_vectors as picture_vectors,
)
from nasnet.features.langchain import LangChainEmbeddings as LangChainEmbeddings
from nasnet.features.llama_index import LlamaIndexEmbedding as LlamaIndexEmbedding
from nasnet.features.map_page import (
    MapOptions as MapOptions,
    write_map as write_map,
)
from nasnet.features.store import SinkOptions as SinkOptions
from nasnet.features.store.merge import (
    MergeSummary as MergeSummary,
    merge as merge,
)
from nasnet.features.stored import (
    Comparison as Comparison,
    Fit as Fit,
    Stored as Stored,
    check_vectors as check_vectors,
    find_recipe as find_recipe,
    read_stored as read_stored,
)
from nasnet.hub.module import (
    Module as Module,
    eval_function_for_module as eval_function_for_module,
    get_expected_image_size as get_expected_image_size,
    get_num_image_channels as get_num_image_channels,
)
from nasnet.hub.signatures import (
    ImageModuleInfo as ImageModuleInfo,
    TensorInfo as TensorInfo,
    Variable as Variable,
)
from nasnet.hub.spec import (
    ModuleSpec as ModuleSpec,
    load_module_spec as load_module_spec,
    resolve as resolve,
)
from nasnet.pictures.recipes import (
    RECIPES as RECIPES,
    Recipe as Recipe,
)
from nasnet.pictures.sources import DatasetOptions as DatasetOptions, SourceOptions as SourceOptions
from nasnet.train.estimator import (
    NASNetClassifier as NASNetClassifier,
    NASNetFeatures as NASNetFeatures,
)
from nasnet.train.evaluate import (
    EvaluateOptions as EvaluateOptions,
    Evaluation as Evaluation,
    evaluate as evaluate,
)
from nasnet.train.finetune import finetune as finetune
from nasnet.train.finetune_options import (
    FinetuneOptions as FinetuneOptions,
    FinetuneSummary as FinetuneSummary,
)
from nasnet.weights.fetch import (
    FetchEvent as FetchEvent,
    FetchOptions as FetchOptions,
)

__all__: list[str]
