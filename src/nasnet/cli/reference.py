"""The page of docs that lists every command and flag, made from the commands themselves.

`python -m nasnet.cli.reference > docs/command-line.md` writes it anew; a test compares.
"""

from __future__ import annotations

import re

from cyclopts.docs.markdown import generate_markdown_docs

from nasnet.cli import COMMANDS, STATUSES, build_app

_HEAD = """# Every command and flag
This page lists every command and flag. `nasnet COMMAND --help` shows the same.

You can set a flag in three places:

- on the command line;
- in the environment: `NASNET_WEIGHTS` sets `--weights` for every command, `NASNET_SERVE_PORT` sets
  `--port` for `nasnet serve` alone. The short form reaches every command where the flag means the
  same; so `NASNET_PRECISION` does not reach `export`, whose `--precision` is that of a file;
- in a TOML file, in a table with the name of the command: `nasnet.toml` in the current folder, or
  the file that `NASNET_CONFIG` names.

The command line wins over the environment, and the environment over the file. An empty variable
counts as not set. In a variable, spaces separate the values of a list.

```toml
# nasnet.toml
[embed]
weights = "builtin"
precision = "auto"
```
```sh
NASNET_PRECISION=f32 nasnet embed photos/ -o features.parquet
```

| exit status | meaning |
|---|---|
"""


_TAIL = """\
An error is one line on standard error. `NASNET_DEBUG=1` also prints where in the code it arose; add
that to a report of a fault.

"""


def reference() -> str:
    """The page as Markdown."""
    parts = []
    for name in COMMANDS:
        text = generate_markdown_docs(build_app(name))
        start = text.index(f"## nasnet {name}\n")
        end = text.find("\n## nasnet ", start + 1)
        parts.append(text[start : len(text) if end < 0 else end].strip())
    # Usage lines of nested commands end in how this process was started (`-m ...`): cut that.
    page = re.sub(r"^(nasnet \w+ \w+) -m \S+", r"\1", "\n\n".join(parts), flags=re.MULTILINE)
    rows = "".join(f"| {status} | {meaning} |\n" for status, meaning in STATUSES.items())
    return f"{_HEAD}{rows}\n{_TAIL}{page}\n"


if __name__ == "__main__":
    print(reference(), end="")
