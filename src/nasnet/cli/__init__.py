"""The command line: `nasnet`, one file a command, which alone may draw and print.

Called as the installed command; nothing of the library imports it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

import click

from nasnet._version import __version__
from nasnet.errors import NasnetError

__all__ = ["main"]

# Command -> the room that has it. Rooms are imported when their command is called or listed, so
# that `nasnet info` does not wait for what `nasnet embed` needs.
_COMMANDS: Mapping[str, str] = {
    "embed": "nasnet.cli.embed",
    "merge": "nasnet.cli.merge",
    "classify": "nasnet.cli.classify",
    "index": "nasnet.cli.index",
    "search": "nasnet.cli.search",
    "dedup": "nasnet.cli.dedup",
    "outliers": "nasnet.cli.outliers",
    "map": "nasnet.cli.map",
    "finetune": "nasnet.cli.finetune",
    "evaluate": "nasnet.cli.evaluate",
    "train": "nasnet.cli.train",
    "serve": "nasnet.cli.serve",
    "info": "nasnet.cli.info",
    "weights": "nasnet.cli.weights",
    "convert": "nasnet.cli.convert",
    "export": "nasnet.cli.export",
    "fetch": "nasnet.cli.fetch",
}


class _Commands(click.Group):
    """Finds commands in the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(_COMMANDS[cmd_name]).command
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nasnet")
def _nasnet() -> None:
    """NASNet-A feature vectors of pictures, exactly as TF-Slim computes them.

    \b
    nasnet embed PHOTOS -o features.parquet    a folder of pictures becomes a table of vectors
    nasnet merge PARTS... -o OUT               outputs of many shards become one
    nasnet classify PHOTOS --weights builtin   what is on them?
    nasnet search features.parquet PHOTO       its nearest pictures
    nasnet map features.parquet -o map.html    a map of them, to look at
    nasnet dedup features.parquet              pictures that are nearly the same
    nasnet finetune PHOTOS -o mine             a module of your own classes
    nasnet evaluate mine OTHER_PHOTOS          how good is it?
    nasnet train PHOTOS -o run                 a network from scratch
    nasnet serve                               an HTTP service with a web page
    nasnet weights inspect PATH                whose weights are these?
    nasnet convert IN OUT                      weights of one format into another
    nasnet export IN nasnet.onnx               the network for other runtimes
    nasnet info                                the network in numbers
    nasnet fetch                               download the module for use without a network
    """  # noqa: D301 - click wants the character itself


def main() -> None:
    """Run the command line; errors of the package become one line and exit status 1."""
    try:
        status = _nasnet.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except NasnetError as error:
        click.echo(f"nasnet: {error}", err=True)
        sys.exit(1)
    except click.exceptions.Abort:
        click.echo("nasnet: stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("nasnet: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`nasnet info | head`): nothing left to say.
        sys.stderr.close()
        sys.exit(141)
