"""OpenAI's own Python client against the service."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.serve import ModelChoice, ServeOptions
from tests.support import pictures
from tests.support.serving import Serving

pytestmark = pytest.mark.interop
openai = pytest.importorskip("openai")

JPEGS = [pictures.jpeg(seed=seed) for seed in range(2)]
URLS = ["data:image/jpeg;base64," + base64.b64encode(data).decode() for data in JPEGS]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    options = ServeOptions(
        models=(ModelChoice(handle="seeded:7", name="nasnet"),), port=0, api_key="a key of eight"
    )
    with Serving(options) as service:
        with openai.OpenAI(
            base_url=f"{service.url}/v1", api_key="a key of eight", max_retries=0
        ) as made:
            yield made
        assert service.faults() == []


@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}])
def test_it_gets_the_vectors_packed_or_not(client: Any, form: dict[str, str]) -> None:
    found = client.embeddings.create(model="nasnet", input=URLS, **form)
    expected = nasnet.embed(list(JPEGS), weights="seeded:7")["vector"].to_pylist()
    assert np.allclose([one.embedding for one in found.data], expected, rtol=1e-4, atol=1e-5)
    assert found.usage.total_tokens == 2


def test_it_knows_what_is_served_and_why_it_is_refused(client: Any) -> None:
    assert [one.id for one in client.models.list()] == ["nasnet"]
    with pytest.raises(openai.NotFoundError, match="does not exist") as error:
        client.embeddings.create(model="other", input=URLS)
    assert error.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="expected a picture") as error:
        client.embeddings.create(model="nasnet", input="a cat")
    assert error.value.param == "input"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="another key").embeddings.create(model="nasnet", input=URLS)
