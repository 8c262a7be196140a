"""Flags made from option classes: their help, the environment, the configuration file."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

import nasnet
from nasnet.cli import COMMANDS, build_app
from nasnet.cli.flags import FIELDS, OTHER_MEANING, flags_of, plain
from nasnet.cli.recipe_flags import RECIPE_FLAGS
from nasnet.cli.reference import reference
from nasnet.pictures.augment import PRESETS
from tests.support import ROOT
from tests.support.cli import invoke
from tests.support.pictures import jpeg


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two pictures, in an empty folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    return folder


def size_written(*flags: str) -> str:
    """The size a run of `embed` used, as its feature set says."""
    done = invoke("embed", "photos", "-o", "f.npy", "-w", "seeded:7", "--overwrite", *flags)
    assert done.exit_code == 0, done.stderr
    return nasnet.read_features("f.npy").meta.size


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("nasnet.toml").write_text('[embed]\nsize = "32"\n', encoding="utf-8")
    assert size_written() == "32x32"
    monkeypatch.setenv("NASNET_SIZE", "48")
    assert size_written() == "48x48"
    assert size_written("--size", "64x40") == "64x40"


def test_the_file_can_be_named_and_has_to_be_there_then(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.toml").write_text('[embed]\nsize = "32"\n', encoding="utf-8")
    monkeypatch.setenv("NASNET_CONFIG", "mine.toml")
    assert size_written() == "32x32"
    monkeypatch.setenv("NASNET_CONFIG", "none.toml")
    missing = invoke("embed", "photos", "-o", "f.npy")
    assert missing.exit_code == 2
    assert "none.toml" in missing.stderr
    assert missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[embed]\nsise = "32"\n', "sise"),
        ('[embed]\nsize = "wide"\n', "'wide' is not a size"),
        ("[embed\n", "nasnet.toml"),
        ("embed = 3\n", "nasnet.toml"),
        ("[emded]\n", "[emded] is not a command"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(
    text: str, told: str, photos: Path
) -> None:
    Path("nasnet.toml").write_text(text, encoding="utf-8")
    done = invoke("embed", "photos", "-o", "f.npy", "-w", "seeded:7")
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("f.npy").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["embd"], "did you mean embed?"),
        (["embed", "photos", "-o", "x.npy", "--endpont", "Logits"], "Did you mean --endpoint?"),
        (["embed", "--endpont", "-o", "x.npy"], "not a flag"),
        (["embed", "photos"], "--output"),
        (["embed", "photos", "-o", "x.npy", "--size", "0x"], "'0x' is not a size"),
        (["embed", "photos", "-o", "x.npy", "--shard", "3"], "'3' is not a shard"),
        (["embed", "photos", "-o", "x.npy", "--precision", "f8"], "f8"),
        (["embed", "photos", "-o", "x.npy", "--overwrite", "--append"], "only one of"),
        (
            ["embed", "a.jpg", "b.jpg", "c.jpg", "-o", "x.npy"],
            "too many names: 'b.jpg' and 1 more; put",
        ),
        (["outliers", "x.npy", "-n", "0"], "0"),
        (["weights", "inspct", "x"], "inspct"),
    ],
)
def test_a_mistake_in_the_command_line_is_one_line_and_status_2(
    arguments: list[str], told: str, photos: Path
) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_that_explains_every_flag(name: str) -> None:
    text = invoke(name, "--help").stdout
    assert f"Usage: nasnet {name}" in text
    assert "`" not in text
    app = build_app(name)[name]
    for command in [app, *(app[child] for child in app if not child.startswith("-"))]:
        if command.default_command is not None:
            names: set[str] = set()
            for argument in command.assemble_argument_collection(parse_docstring=True):
                if argument.parse and argument.show and not argument.children:
                    assert argument.parameter.help, f"{name} {argument.name}"
                    assert not names.intersection(argument.names), f"{name} {argument.name} twice"
                    names.update(argument.names)


def test_the_table_of_fields_names_fields_that_there_are() -> None:
    classes = {cls.__name__: cls for cls in _option_classes()}
    for name, fields in FIELDS.items():
        known = {field.name for field in dataclasses.fields(classes[name])}
        assert set(fields) <= known, name


def _option_classes() -> list[type]:
    found: dict[str, type] = {}

    def collect(cls: type) -> None:
        found[cls.__name__] = cls
        for field_type in (typing.get_type_hints(cls)).values():
            if isinstance(field_type, type) and dataclasses.is_dataclass(field_type):
                collect(field_type)

    for name in COMMANDS:
        app = build_app(name)[name]
        if app.default_command is not None:
            wrapped = inspect.unwrap(app.default_command)
            for hint in typing.get_type_hints(wrapped).values():
                if isinstance(hint, type) and dataclasses.is_dataclass(hint):
                    collect(hint)
    return list(found.values())


def test_an_option_class_comes_back_as_it_was() -> None:
    flags = flags_of(nasnet.EmbedOptions)
    assert plain(nasnet.EmbedOptions, flags()) == nasnet.EmbedOptions()


def test_the_key_of_a_service_is_never_a_flag(tmp_path: Path) -> None:
    done = invoke("serve", "--api-key", "12345678")
    assert done.exit_code == 2
    assert "--api-key" in done.stderr


def test_help_imports_no_command() -> None:
    code = (
        "import sys\n"
        "from nasnet.cli import run\n"
        "run(['--help'])\n"
        "heavy = ('numpy', 'pyarrow', 'onnx', 'openvino', 'torch', 'PIL', 'fsspec')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_the_page_of_all_flags_is_made_of_the_commands() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m nasnet.cli.reference > docs/command-line.md"


def test_the_help_names_every_recipe_and_augmentation() -> None:
    text = " ".join(invoke("finetune", "--help").stdout.split())
    assert all(name.partition("/")[0] in text for name in nasnet.RECIPES)
    assert all(name in text for name in PRESETS)


def test_commands_that_follow_a_recipe_change_the_same_values_of_it() -> None:
    texts = [invoke(name, "--help").stdout for name in ("train", "finetune")]
    for flag in RECIPE_FLAGS:
        assert all(f"--{flag.replace('_', '-')} " in text for text in texts), flag


def test_evaluating_splits_nothing() -> None:
    text = invoke("evaluate", "--help").stdout
    assert "--label-column" in text
    assert not [flag for flag in ("--validation", "--seed") if flag in text]


def test_a_key_comes_from_its_file_or_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(
        "nasnet.cli.serve.serve_forever", lambda options, on_event: seen.append(options.api_key)
    )
    (tmp_path / "key").write_text("of the file\n")
    monkeypatch.setenv("NASNET_API_KEY_FILE", str(tmp_path / "key"))
    assert invoke("serve").exit_code == 0
    monkeypatch.delenv("NASNET_API_KEY_FILE")
    monkeypatch.setenv("NASNET_API_KEY", "of the variable")
    assert invoke("serve").exit_code == 0
    assert invoke("serve", "--api-key-file", tmp_path / "key").exit_code == 0
    assert seen == ["of the file", "of the variable", "of the file"]


# Every flag of `serve`, and a value that is not its default; {} stands for a folder.
SERVE: dict[str, Any] = {
    "weights": ["a=seeded:7", "b=seeded:8"],
    "photos": "{}",
    "open": True,
    "verbose": True,
    "quiet": True,
    "host": "0.0.0.0",
    "port": 9000,
    "api-key-file": "{}/key",
    "allow-anyone": True,
    "allowed-hosts": ["one.example", "two.example"],
    "cors-origin": ["https://one.example", "https://two.example"],
    "recipe": "tf1-hub",
    "padding": "keras",
    "index": "{}/index",
    "pictures": "{}",
    "map": "{}/map.html",
    "max-body": 3,
    "max-megapixels": 4,
    "max-pictures": 5,
    "values": 6000,
    "queue": 70,
    "connections": 80,
    "body-timeout": 9.5,
    "timeout": 10.5,
    "idle-seconds": 11.5,
    "grace-seconds": 12.5,
    "linger-seconds": 0.5,
    "engine": "torch",
    "device": "cpu",
    "precision": "bf16",
    "threads": 1,
    "batch-size": 2,
    "compile": True,
    "model-cache": False,
    "cache-dir": "{}/cache",
    "offline": True,
    "mirrors": ["https://one.example", "https://two.example"],
}


def serve_flags(values: dict[str, Any]) -> list[str]:
    found = []
    for name, value in values.items():
        if isinstance(value, bool):
            found.append(f"--{name}" if value else f"--no-{name}")
        else:
            many = value if isinstance(value, list) else [value]
            found += [text for one in many for text in (f"--{name}", str(one))]
    return found


def test_every_option_of_the_service_is_a_flag_a_variable_and_a_line_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, shown = reference().partition("\n## nasnet serve\n")
    shown = shown.partition("\n## nasnet ")[0]
    assert set(re.findall(r"^\* `--([a-z-]+)", shown, re.MULTILINE)) == set(SERVE)
    (tmp_path / "key").write_text("a key of eight")
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = json.loads(json.dumps(SERVE).replace("{}", str(tmp_path)))

    def given(*flags: str) -> dict[str, Any]:
        _, bound, _ = build_app("serve").parse_args(["serve", *flags])
        return bound.arguments

    by_flags = given(*serve_flags(values))
    for prefix in ("NASNET_", "NASNET_SERVE_"):
        if prefix == "NASNET_":
            monkeypatch.setenv("NASNET_SERVE_PICTURES", values["pictures"])  # else `map`'s number
        for name, value in values.items():
            between = "," if name == "mirrors" else " "
            text = between.join(value) if isinstance(value, list) else str(value)
            monkeypatch.setenv(prefix + name.upper().replace("-", "_"), text)
        assert given() == by_flags
        for name in values:
            monkeypatch.delenv(prefix + name.upper().replace("-", "_"), raising=False)
    assert given() != by_flags
    lines = (f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    Path("nasnet.toml").write_text("[serve]\n" + "".join(lines), encoding="utf-8")
    assert given() == by_flags


def weighed() -> list[str]:
    """The commands that take `--weights`, of the real tree."""
    sections = re.split(r"^## nasnet ", reference(), flags=re.MULTILINE)[1:]
    return [one.split()[0] for one in sections if re.search(r"^\* `--weights\b", one, re.MULTILINE)]


@pytest.mark.parametrize("name", weighed())
def test_a_variable_names_the_weights_of_every_command_that_takes_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASNET_WEIGHTS", "seeded:7")
    app = build_app(name)
    # The least the command can be asked for: it is read, not run.
    needed = [one for one in app[name].assemble_argument_collection() if one.required]
    flags = [text for one in needed if one.name.startswith("--") for text in (one.name, "x.html")]
    places = ["x" for one in needed if not one.name.startswith("--")]
    _, bound, _ = app.parse_args([name, *places, *flags], exit_on_error=False, print_error=False)
    assert bound.arguments["weights"] in ("seeded:7", ("seeded:7",))


def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "nasnet.cli.serve.serve_forever", lambda options, on_event: seen.append(options.port)
    )
    monkeypatch.setenv("NASNET_PORT", "tcp://10.0.0.1:8000")
    assert invoke("serve", "-w", "seeded:7").exit_code == 0
    assert seen == [8000]


def test_an_empty_variable_is_none(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NASNET_THREADS", "NASNET_OFFLINE", "NASNET_CONFIG", "NASNET_PAGE"):
        monkeypatch.setenv(name, "")
    assert size_written("--size", "32") == "32x32"


def test_a_variable_does_not_reach_a_flag_of_another_meaning(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASNET_PRECISION", "bf16")
    monkeypatch.setenv("NASNET_RECIPE", "tf1-hub")
    monkeypatch.setenv("NASNET_PICTURES", "nowhere")
    done = invoke("export", "seeded:7", "x.onnx", "--size", "48", "--no-verify", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["precision"] == "f32"
    done = invoke("train", "nowhere", "-o", "run")
    assert "nowhere: no such file or folder" in done.stderr
    done = invoke("embed", "photos", "-o", "f.npy", "-w", "seeded:7", "--size", "48", "-q")
    assert json.loads(Path("f.json").read_text(encoding="utf-8"))["recipe"].startswith("tf1-hub")


@pytest.mark.parametrize("command", OTHER_MEANING)
def test_the_flags_that_no_variable_sets_are_there(command: str) -> None:
    text = invoke(command, "--help").stdout
    assert all(flag in text for flag in OTHER_MEANING[command])


def test_flags_of_writing_are_offered_where_something_is_written() -> None:
    for flag in ("--part-rows", "--vector-dtype", "--endpoint"):
        assert flag in invoke("embed", "--help").stdout
        assert flag not in invoke("classify", "--help").stdout


def test_a_letter_and_its_flag_are_the_same_on_every_command() -> None:
    """Whoever knows one command knows the others; `-k` is how many of the nearest or likeliest."""
    found: dict[str, set[str]] = {}
    for flag, letter in re.findall(r"^\* `(--[a-z-]+), (-[a-z])\b", reference(), re.MULTILINE):
        found.setdefault(letter, set()).add(flag)
    assert found == {
        "-o": {"--output"},
        "-q": {"--quiet"},
        "-w": {"--weights"},
        "-v": {"--verbose"},
        "-n": {"--count"},
        "-k": {"--count", "--top", "--neighbours"},
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("embd x", "no command 'embd'; did you mean embed?"),
        ("weights inspct x", 'Did you mean "inspect"?'),
        ("search x --lable y", "Did you mean --label?"),
        ("finetune x -o y --mode fll", 'Did you mean "full"?'),
        ("embed p.jpg -o y.npy -w seeded:7 --recipe fhoto", "; did you mean photo?"),
        ("embed p.jpg -o y.npy -w seeded:7 --endpoint cell_55", "; did you mean Cell_5?"),
        ("train x -o y --recipe mobil", "and no file; did you mean mobile?"),
        ("weights inspect builtn", "; did you mean builtin?"),
    ],
)
def test_what_is_nearly_right_is_named(
    line: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.jpg").write_bytes(jpeg())
    result = invoke(*line.split())
    assert result.exit_code in (1, 2)
    assert told in result.stderr
