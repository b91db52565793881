"""Shell completion: fastssl completion

Prints a script that completes commands, recipes, protocols and options in bash and zsh. Keep it in a file:

    fastssl completion > ~/.fastssl-completion
    echo '. ~/.fastssl-completion' >> ~/.bashrc    # zsh: ~/.zshrc

The options are those that the --help of each command names, when the script is printed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

from fastssl.__main__ import BENCHMARKS, COMMANDS
from fastssl.diagnostics import DIAGNOSTICS
from fastssl.evaluate import PROTOCOLS
from fastssl.live_pages import help_of
from fastssl.recipes import RECIPES
from fastssl.transfer import TASKS
from pipelines.command.errors import UserError

_WIDE = "200"  # columns: no option is broken over two lines
_SCRIPT = """\
[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit
_fastssl() {{
    local words=""
    if [ "$COMP_CWORD" = 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}}" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _fastssl fastssl
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    words = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    if words:
        raise UserError(f"fastssl completion takes no options, not {words[0]}")
    first: Mapping[str, Iterable[str]] = {
        "train": RECIPES,
        "estimate": RECIPES,
        "evaluate": PROTOCOLS,
        "transfer": TASKS,
        "diagnostics": DIAGNOSTICS,
    }
    os.environ["COLUMNS"] = _WIDE
    known = {
        name: [*first.get(name, ()), *(options_in(help_of(module)) if module else BENCHMARKS)]
        for name, (module, _) in COMMANDS.items()
        if module != "fastssl.completion"
    }
    print(script(known))
    return 0


def script(known: Mapping[str, Sequence[str]]) -> str:
    """The script for the words that may follow each command."""
    cases = "\n".join(f'            {name}) words="{" ".join(words)}" ;;' for name, words in known.items())
    return _SCRIPT.format(commands=" ".join(known), cases=cases)


def options_in(text: str) -> list[str]:
    """The options that a help page names, such as ``--optimizer.base-lr``."""
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", text)))
