"""A module goes to the Hugging Face Hub: folder, model card and upload, by the Hub's own client."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasnet.errors import OutputError, needs
from nasnet.exporting.export import ExportOptions, export
from nasnet.exporting.torch_archives import model_card


def push_to_hub(
    source: str | os.PathLike[str],
    repository: str,
    *,
    private: bool = False,
    about: str = "",
) -> str:
    """Upload weights, with their labels and a model card, as a repository that `hf-hub:` reads.

    The repository holds what `export` writes for `huggingface`: nasnet opens it as
    `hf-hub:USER/NAME`, and so do `nasnet.torch.NASNet.from_pretrained` and timm. It is made if it
    is not there; what it held of these files is replaced. `HF_TOKEN` (or `hf auth login`) and
    `HF_ENDPOINT` count as they do for the client.

    Args:
        source: a handle, path or `seeded:N`, as everywhere; the folder of a fine-tuning, say.
        repository: `USER/NAME`.
        private: make the repository private, if it is made.
        about: Markdown that the model card begins with, such as scores.

    Returns:
        The repository's address.

    Raises:
        OutputError: nobody is logged in, the Hub refuses, or it cannot be reached.
        WeightsError: the source holds no NASNet-A weights, or is damaged.
        MissingExtraError: torch or huggingface-hub is not installed.
    """
    client = _client()
    with tempfile.TemporaryDirectory(prefix="nasnet-hub-") as place:
        folder = Path(place) / repository.rpartition("/")[2]
        done = export(source, folder, options=ExportOptions(to="huggingface"))
        card = model_card(done.request, repository=repository, about=about)
        (folder / "README.md").write_text(card, encoding="utf-8")
        with _told(repository), _no_bars():
            address = client.create_repo(repository, private=private, exist_ok=True)
            client.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=f"{done.request.weights.network}, {done.request.task}",
            )
    return str(address)


def check_login(repository: str) -> None:
    """Ask the Hub who is logged in: better before an hour of work than after it.

    Raises:
        OutputError: nobody is, or it cannot be reached.
        MissingExtraError: huggingface-hub is not installed.
    """
    with _told(repository):
        _client().whoami()


def _client() -> Any:  # noqa: ANN401
    hub = needs("huggingface_hub", extra="hf")
    # The client reads HF_ENDPOINT once, when it is imported.
    return hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="nasnet")


@contextmanager
def _no_bars() -> Iterator[None]:
    """The client draws bars unless the process says no; only the command line draws here."""
    utils = needs("huggingface_hub.utils", extra="hf")
    drew = not utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if drew:
            utils.enable_progress_bars()


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """The client's errors, of all kinds, as one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        first = error.__cause__ or error  # "Error while uploading" says less than what stopped it
        reason = str(first).strip().partition("\n")[0] or type(first).__name__
        raise OutputError(
            f"{repository} cannot be uploaded to the Hugging Face Hub: {reason}; "
            "`hf auth login`, or a token that may write in HF_TOKEN"
        ) from error
