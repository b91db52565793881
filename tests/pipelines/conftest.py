"""Triton without a GPU, for tests of the GPU renderer and of each operation's part in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def interpreter() -> Iterator[None]:
    """Triton's own functions interpreted too, although torch may have imported it before."""
    if torch.cuda.is_available():
        yield
        return
    from triton import language
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    patched, call = set(), InterpretedFunction.__call__

    def call_quickly(function: Any, *given: Any, **named: Any) -> Any:
        """At every call the interpreter patches what a module sees of Triton; once a module will do."""
        if function.fn.__module__ in patched:
            return function.rewrite()(*given, **named)
        patched.add(function.fn.__module__)
        return call(function, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.setattr(InterpretedFunction, "__call__", call_quickly)
        for module in (language, language.standard):
            for name, member in list(vars(module).items()):
                if isinstance(member, JITFunction):
                    patch.setattr(module, name, InterpretedFunction(member.fn))
        yield
