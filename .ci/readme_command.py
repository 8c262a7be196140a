"""Print the first or second command of the README's first code block, so that CI runs its words.

usage: readme_command.py {1,2}
"""

import pathlib
import re
import sys

text = pathlib.Path("README.md").read_text(encoding="utf-8")
block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
assert block, "the README has no sh block"
commands = [
    line for line in block[1].splitlines() if line.strip() and not line.lstrip().startswith("#")
]
assert len(commands) == 2, f"the README's first block has {len(commands)} commands, not two"
sys.stdout.write(commands[int(sys.argv[1]) - 1] + "\n")
