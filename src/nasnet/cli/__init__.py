"""The command line: `nasnet`, one file a command, which alone may draw and print.

Nothing of the library imports it. A file is imported when its command runs, so that
`nasnet --help` waits for none of them.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, UnusedCliTokensError
from cyclopts.config import Dict, Env

from nasnet._version import __version__
from nasnet.cli.flags import DEFAULTS, Environment, UsageError, unwrapped
from nasnet.cli.terminal import note
from nasnet.errors import InputError, NasnetError, SignatureError
from nasnet.system import stopped_alike
from nasnet.text import meant, read_toml

CONFIG = "nasnet.toml"
_REPORTS = "https://github.com/nasnet/nasnet/issues"
_LONGEST_LINE = 500  # of another library's message

# Exit status -> what it means.
STATUSES: Mapping[int, str] = {
    0: "done",
    1: "something failed, told in one line; all pictures failed, or with `--strict` any of them; "
    "the answer of `check-vectors` is no",
    2: "a mistake in what was asked for: a flag, a value, a variable, the configuration file",
    130: "stopped by Ctrl-C, SIGTERM or SIGHUP (0 for `serve`, once it is ready)",
    141: "whoever read the output went away",
}

# Command -> (its function, its line in `nasnet --help`).
COMMANDS: Mapping[str, tuple[str, str]] = {
    "embed": ("embed:embed", "A folder of pictures becomes a table of vectors."),
    "adopt": ("adopt:adopt", "Vectors stored by another program become a table."),
    "check-vectors": (
        "check_vectors:check_vectors",
        "Say whether two tables hold the same vectors.",
    ),
    "merge": ("merge:merge", "The outputs of many shards become one."),
    "classify": ("classify:classify", "Name what is on pictures."),
    "index": ("index:index", "Make an index of vectors that opens at once."),
    "search": ("search:search", "Find the nearest pictures to a picture."),
    "dedup": ("dedup:dedup", "Find pictures that are nearly the same."),
    "outliers": ("outliers:outliers", "Find pictures that are like no others."),
    "map": ("map:map_", "Draw vectors as a map to look at."),
    "finetune": ("finetune:finetune", "Make a module of your own classes."),
    "compare": ("compare:compare", "Train networks alike, and say which is better."),
    "evaluate": ("evaluate:evaluate", "Measure a module on labelled pictures."),
    "train": ("train:train", "Train a network from scratch."),
    "discover": ("discover:discover", "Search for cells, and make a network of the best."),
    "serve": ("serve:serve", "Run an HTTP service with a web page."),
    "info": ("info:info", "Print the network in numbers."),
    "weights": ("weights:app", "Inspect weight files, and pack them."),
    "convert": ("convert:convert", "Write weights of one format as another."),
    "export": ("export:export", "Write the network for other runtimes."),
    "fetch": ("fetch:fetch", "Download a module for use without a network."),
}

HELP = """NASNet-A feature vectors of pictures, exactly as TF-Slim computes them.

    nasnet embed PHOTOS -o features.parquet --page neighbours.html

Every flag can also stand in a TOML file (nasnet.toml here, or NASNET_CONFIG), a table a command,
or in the environment: NASNET_PRECISION=bf16. A flag wins over the environment, and the
environment over the file.
"""


def build_app(wanted: str | None = None) -> App:
    """The command line as cyclopts knows it.

    Args:
        wanted: the command that will run, whose help is its docstring; of the others the line in
            the table is enough, and their files are not imported.
    """
    app = App(
        name="nasnet",
        help=unwrapped(HELP),
        help_format="plaintext",
        suppress_keyboard_interrupt=False,  # `run` says that it stopped
        version=__version__,
        version_flags=("--version",),
        help_flags=("--help", "-h"),
        default_parameter=DEFAULTS,
        config=(
            Env("NASNET_", show=False),  # NASNET_SERVE_PORT: of that command alone
            Environment("NASNET_", command=False, show=False),
            Dict(_configured(), source=os.environ.get("NASNET_CONFIG", CONFIG)),
        ),
    )
    for name, (function, line) in COMMANDS.items():
        app.command(f"nasnet.cli.{function}", name=name, help=None if name == wanted else line)
    return app


def _configured() -> dict[str, Any]:
    """The configuration file's tables; none where no file is.

    Raises:
        UsageError: it cannot be read, or `NASNET_CONFIG` names one that is not there.
    """
    path = Path(os.environ.get("NASNET_CONFIG", CONFIG))
    if not path.exists() and "NASNET_CONFIG" not in os.environ:
        return {}
    try:
        tables = read_toml(path, InputError)
    except InputError as error:
        raise UsageError(str(error)) from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} stands in no table; begin with one, such as [embed]")
        if name not in COMMANDS:
            hint = meant(name, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
            raise UsageError(f"{path}: [{name}] is not a command{hint}")
    return tables


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process, with one of `STATUSES`."""
    if os.name == "posix":
        _fill_streams()
    # A start makes a hundred thousand objects that stay: to look through them for garbage, again
    # and again and once more at the end, took an eighth of its time.
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
    arguments = sys.argv[1:] if arguments is None else arguments
    if not sys.warnoptions and not os.environ.get("NASNET_DEBUG"):
        # Other libraries warn programmers of damaged pictures and old ways; users have the reason.
        warnings.simplefilter("ignore")
        if arguments and arguments[0] in COMMANDS:  # the list of commands comes without `logging`
            import logging

            # What has no handler would be printed.
            logging.getLogger().addHandler(logging.NullHandler())
    sys.exit(run(arguments))


def _fill_streams() -> None:
    """Open what was closed by who started us: else the next file we open would be our output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def run(arguments: Sequence[str]) -> int:
    """Run one command line, and give its exit status."""
    # An empty variable is none, as the library itself takes it; and where Kubernetes has a service
    # called `nasnet`, it sets NASNET_PORT to an address in every container.
    for name, value in list(os.environ.items()):
        if name.startswith("NASNET_") and (not value or value.startswith("tcp://")):
            del os.environ[name]
    # Names of files may hold any bytes: on standard output they come out as they are, where its
    # encoding can hold them.
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf8 = sys.stdout.encoding.lower() in ("utf-8", "utf8")
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    try:
        wanted = arguments[0] if arguments else None
        if wanted is not None and not wanted.startswith("-") and wanted not in COMMANDS:
            hint = meant(wanted, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
            raise UsageError(f"no command {wanted!r}{hint}")
        with stopped_alike():
            status = build_app(wanted)(
                _plain_paths(arguments),
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
        if sys.stdout is not None:  # closed by who started us
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except BaseException as error:  # the last net: a user is never shown a traceback unasked
        if os.environ.get("NASNET_DEBUG"):
            import traceback

            traceback.print_exc()
        status, text = _told(error)
        if text:
            note(text)
        _silence()
        return status


def _told(error: BaseException) -> tuple[int, str]:
    """The exit status for what ended a command, and what is said about it."""
    line = " ".join(str(error).split())[:_LONGEST_LINE]
    if isinstance(error, UsageError | InputError | SignatureError):
        return 2, f"nasnet: {error}"
    if isinstance(error, NasnetError):
        return 1, f"nasnet: {error}"
    if isinstance(error, CycloptsError):
        chain = " ".join(["nasnet", *(error.command_chain or ())])
        if isinstance(error, UnusedCliTokensError):
            first, *others = error.unused_tokens or [""]
            more = f" and {len(others):,} more" if others else ""
            line = f"too many names: {first!r}{more}; put a pattern into quotes: 'photos/*.jpg'"
        return 2, f"{chain}: {line} (`{chain} --help` lists what there is)"
    if isinstance(error, KeyboardInterrupt):
        return 130, "\nnasnet: stopped"  # below the terminal's ^C
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        # The reader of our output went away (`nasnet info | head`): nothing left to say. Where
        # rich writes, it makes an end of its own of it.
        return 141, ""
    if isinstance(error, SystemExit):
        return (error.code if isinstance(error.code, int) else 1), ""
    if isinstance(error, MemoryError):
        return 1, "nasnet: out of memory; fewer --threads or a smaller --batch-size need less"
    if isinstance(error, OSError) and error.errno is not None:
        # What rooms read and write ends in errors of the package: this is most often our output.
        where = f"{error.filename}: " if error.filename else "the output cannot be written: "
        return 1, f"nasnet: {where}{error.strerror}"
    return 1, (
        f"nasnet: a fault of this program: {type(error).__name__}: {line} "
        f"(NASNET_DEBUG=1 shows where; please report it at {_REPORTS})"
    )


def _plain_paths(arguments: Sequence[str]) -> list[str]:
    """Names after `--` that begin with a hyphen, as paths that no flag looks like."""
    end = [*arguments, "--"].index("--")
    after = (f"./{one}" if one[:1] == "-" != one else one for one in arguments[end:][1:])
    return [*arguments[: end + 1], *after]


def _silence() -> None:
    """What is not written yet is thrown away where it cannot be, or the interpreter complains."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
