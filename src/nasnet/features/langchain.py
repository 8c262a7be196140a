"""Vectors of pictures for LangChain: its `Embeddings`, with paths and URLs instead of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasnet.errors import needs
from nasnet.features.extractor import Extractor
from nasnet.weights.opening import DEFAULT_HANDLE, WeightsSource

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
else:
    Embeddings = needs("langchain_core.embeddings", extra="langchain").Embeddings


class LangChainEmbeddings(Embeddings):
    """What LangChain's vector stores ask for vectors; of pictures, by path or URL, not of texts.

    Attributes:
        extractor: what computes.
    """

    def __init__(self, weights: WeightsSource = DEFAULT_HANDLE, **options: Any) -> None:  # noqa: ANN401
        """Open the weights.

        Args:
            weights: a published handle, `builtin`, or a file.
            **options: of `nasnet.Extractor`.

        Raises:
            FetchError, WeightsError, InputError: as `nasnet.Extractor` does.
        """
        self.extractor = Extractor(weights, **options)

    def embed_image(self, uris: list[str]) -> list[list[float]]:
        """Vectors of length 1 of pictures, by path or URL, in order.

        Raises:
            PictureError: one cannot be read; what is a text and no picture cannot.
        """
        vectors: list[list[float]] = self.extractor.embed(list(uris), normalize=True).tolist()
        return vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_image`: a store's documents are paths or URLs of pictures."""
        return self.embed_image(texts)

    def embed_query(self, text: str) -> list[float]:
        """The vector of one picture, by path or URL."""
        return self.embed_image([text])[0]
