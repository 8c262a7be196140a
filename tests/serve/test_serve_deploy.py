"""What operators are given: the list of metrics, the board, the container's files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nasnet.cli import build_app
from nasnet.serve import ModelChoice, ServeOptions
from tests.support import ROOT, pictures
from tests.support.serving import Serving

DEPLOY = ROOT / "deploy"
_SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every metric that a service with a folder prints, and its type."""
    photos = tmp_path_factory.mktemp("photos")
    (photos / "0.jpg").write_bytes(pictures.jpeg())
    options = ServeOptions(models=(ModelChoice(handle="seeded:7"),), port=0, photos=photos)
    with Serving(options, early=True) as service:
        assert service.get("/healthz").status == 200
        text = service.get("/metrics").data.decode()
    found = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return {name: kind for name, kind in found.items() if not name.endswith("_created")}


def test_the_list_of_metrics_is_what_the_service_prints(families: dict[str, str]) -> None:
    text = (ROOT / "docs/serve.md").read_text(encoding="utf-8")
    table = text.partition("| metric | labels | what |\n")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines()[1:]]
    listed = {name: row[3] for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert set(listed) == set(families)
    assert {name for name in listed if listed[name].startswith(" histogram: ")} == {
        name for name, kind in families.items() if kind == "histogram"
    }


def expressions(board: dict[str, Any]) -> Iterator[str]:
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in board["templating"]["list"]:
        yield variable["query"]["query"]


def test_the_board_names_metrics_that_exist(families: dict[str, str]) -> None:
    board = json.loads((DEPLOY / "grafana/boards/nasnet.json").read_text(encoding="utf-8"))
    printed = set(families)
    for name, kind in families.items():
        if kind == "histogram":
            printed |= {name + suffix for suffix in _SUFFIXES}
    named = {
        one for text in expressions(board) for one in re.findall(r"\b(?:nasnet|process)_\w+", text)
    }
    assert named <= printed
    # All of the service's own but the counters of a form that the board shows otherwise.
    own = {name for name in families if name.startswith("nasnet_")}
    assert own <= {re.sub("_(bucket|sum|count)$", "", name) for name in named}
    places = {tuple(panel["gridPos"].values()) for panel in board["panels"]}
    assert len(places) == len(board["panels"])


def test_the_files_of_the_container_fit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            here = volume.split(":")[0]
            assert here in compose["volumes"] or (DEPLOY / here).exists(), volume
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = scraped["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["nasnet:8000"]}]
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    provider = DEPLOY / "grafana/provisioning/dashboards/nasnet.yaml"
    (boards,) = yaml.safe_load(provider.read_text(encoding="utf-8"))["providers"]
    mounted = [one.split(":")[1] for one in compose["services"]["grafana"]["volumes"]]
    assert boards["options"]["path"] in mounted


def test_the_container_sets_variables_that_the_service_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    variables = dict(
        re.findall(r"(NASNET_\w+)=(\S+)", text.partition("ENV ")[2].partition("USER")[0])
    )
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NASNET_API_KEY", "a key of eight")
    monkeypatch.chdir(tmp_path)
    _, bound, _ = build_app("serve").parse_args(["serve"])
    options = bound.arguments["options"]
    assert bound.arguments["weights"] == ("builtin",)
    assert (options.host, options.port, options.fetch.offline) == ("0.0.0.0", 8000, True)
    assert len(variables) == 4
    # The health check and the copied files are there.
    assert "/readyz" in text
    for name in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / one).exists() for one in name.split())
