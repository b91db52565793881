"""A power cut in the middle of a protocol's training, without a process to kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastssl.evaluate.resumable import Resumable


class _PowerCutError(Exception):
    pass


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Inside, a training saves after each step, and ends after one with its power cut."""

    def stop(resumable: Resumable, done: int, total: int) -> None:
        if done == step:
            raise _PowerCutError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resumable, "is_due", lambda resumable: True)
        patch.setattr(Resumable, "stop_if_asked", stop)
        with pytest.raises(_PowerCutError):
            yield
