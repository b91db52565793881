"""``python -m pipelines.pack SRC DST``: write a data set as shards, a ``.beton`` or folders with targets.

Images keep their order, sample ids, labels and names of classes, and their bytes wherever that is possible
(``packed_image``). All is written aside, read again and compared with the source, and only then gets its
name: an error, a full disk or Ctrl-C leaves nothing behind (what a SIGKILL leaves, a hidden ``.DST.*.part``,
the next one removes).
"""

from __future__ import annotations

import signal
import sys

from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.packing.options import Options as Options

_SUFFIXES = (".tar", ".beton", ".parquet")


def main() -> int:
    """Run the command and return its exit status."""
    prog = "python -m pipelines.pack"
    if sum(word.endswith(_SUFFIXES) for word in sys.argv[1:]) > 2:  # the shell expanded a pattern
        raise UserError("SRC is one word: put a pattern into quotes, 'train-*.tar'")
    options = read_options(Options, prog, None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is aside is removed
    try:
        pack(options)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    return 0


def pack(options: Options) -> None:
    """Write ``options.src`` as ``options.dst``; say on stdout what was done.

    Raises:
        UserError: see ``pipelines.packing.writing.write_packed``.
    """
    from pipelines.packing.writing import write_packed  # a second of imports, which --help does without

    print("\n".join(write_packed(options)))


if __name__ == "__main__":
    run_command(main)
