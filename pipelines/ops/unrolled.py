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


def chained(
    name: str, parameters: str, result: str, functions: Sequence[Callable[..., Any]], **names: Any
) -> Callable[..., Any]:
    """The function ``def name(parameters)`` that calls compiled functions in turn, not compiled yet.

    Args:
        name: a word.
        parameters: of it and of each function.
        result: the parameters that each function returns anew, and in the end it; "" for none.
        functions: in their order.
        **names: see ``unrolled``.
    """
    calls = {f"call_{index}": function for index, function in enumerate(functions)}
    lines = [f"{result} = {call}({parameters})" if result else f"{call}({parameters})" for call in calls]
    return unrolled(name, parameters, [*lines, f"return {result}"], {**names, **calls})
