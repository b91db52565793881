"""Paths of a search's files, and its lock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from launchers.sweeps.folder import SweepFolder
from pipelines.command.errors import UserError
from pipelines.files import folder_lock

_PATIENCE = 600.0  # seconds: a driver elsewhere that was killed is given up after five minutes


class SearchFolder(SweepFolder):
    """The paths of a search folder, which is a sweep folder with more: its runs are the trials."""

    @property
    def search(self) -> Path:
        """The search, its trials and its best: what reports read."""
        return self.path / "search.json"

    @property
    def base(self) -> Path:
        """Config that the trials change."""
        return self.path / "base.json"

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.path / "optuna.journal"

    @property
    def best(self) -> Path:
        """Config of the best trial, as ``python -m fastssl.train`` takes it."""
        return self.path / "best" / "config.json"

    @property
    def drivers(self) -> Path:
        """A folder per driver, whose lock it holds while it lives."""
        return self.jobs / "drivers"


@contextmanager
def deciding(folder: SearchFolder) -> Iterator[None]:
    """Hold the search's lock for a moment: one driver at a time reads and writes journal and plan.

    Raises:
        UserError: it is not to be had, for minutes.
    """
    until = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folder_lock.hold(folder.path))
                break
            except UserError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.1)
        yield
