"""Vectors of pictures for LlamaIndex: its `MultiModalEmbedding`, which sees no texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from nasnet.errors import UnsupportedError, needs
from nasnet.features.extractor import Extractor
from nasnet.weights.opening import DEFAULT_HANDLE

if TYPE_CHECKING:
    from llama_index.core.embeddings import MultiModalEmbedding
else:
    MultiModalEmbedding = needs(
        "llama_index.core.embeddings", extra="llama-index"
    ).MultiModalEmbedding


class LlamaIndexEmbedding(MultiModalEmbedding):
    """What LlamaIndex' multi-modal index asks for vectors of pictures, by path, URL or file.

    Attributes:
        weights: a published handle, `builtin`, or a file.
    """

    weights: str = DEFAULT_HANDLE

    def __init__(self, weights: str = DEFAULT_HANDLE, **options: Any) -> None:  # noqa: ANN401
        """Open the weights.

        Args:
            weights: a published handle, `builtin`, or a file.
            **options: of LlamaIndex' own class, such as `embed_batch_size`.

        Raises:
            FetchError, WeightsError: as `nasnet.Extractor` does.
        """
        super().__init__(weights=weights, **{"model_name": f"nasnet {weights}", **options})
        self._extractor = Extractor(weights)

    @classmethod
    def class_name(cls) -> str:
        """Its name in LlamaIndex' settings."""
        return "LlamaIndexEmbedding"

    def _get_image_embeddings(self, img_file_paths: list[Any]) -> list[list[float]]:
        given = [one if isinstance(one, str) else one.read() for one in img_file_paths]
        vectors: list[list[float]] = self._extractor.embed(given, normalize=True).tolist()
        return vectors

    async def _aget_image_embeddings(self, img_file_paths: list[Any]) -> list[list[float]]:
        return self._get_image_embeddings(img_file_paths)

    def _get_image_embedding(self, img_file_path: Any) -> list[float]:  # noqa: ANN401
        return self._get_image_embeddings([img_file_path])[0]

    async def _aget_image_embedding(self, img_file_path: Any) -> list[float]:  # noqa: ANN401
        return self._get_image_embedding(img_file_path)

    def _get_text_embedding(self, text: str) -> NoReturn:
        raise UnsupportedError("NASNet sees pictures, no texts: ask for an image's embedding")

    def _get_query_embedding(self, query: str) -> NoReturn:
        self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> NoReturn:
        self._get_text_embedding(query)
