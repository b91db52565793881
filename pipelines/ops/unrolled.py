"""A loop over operations, unrolled into a function that numba and Triton can compile.

Neither compiles a loop over a tuple of functions. Calls written out one below the other they do, and quicker
than functions that wrap one another.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def unrolled(
    name: str, parameters: str, lines: Sequence[str], names: Mapping[str, Any]
) -> Callable[..., Any]:
    """The function ``def name(parameters)`` of these lines, not compiled yet.

    Its source is found by ``inspect``, from which Triton compiles.

    Args:
        name: a word.
        parameters: as in a definition.
        lines: of the body, not indented.
        names: what the lines refer to beside the parameters.
    """
    source = [f"def {name}({parameters}):\n", *(f"    {line}\n" for line in lines)]
    file = f"<{__name__} {name}>"
    linecache.cache[file] = (sum(map(len, source)), None, source, file)
    namespace = {"__name__": __name__, **names}
    exec(compile("".join(source), file, "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function
