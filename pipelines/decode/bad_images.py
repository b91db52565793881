"""Files that could not be decoded: counted, named in a file, and tolerated up to a limit."""

from __future__ import annotations

import threading
from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.command.text import visible


class BadImages:
    """The distinct undecodable samples of a run. Safe to use from many threads.

    Args:
        path: ``bad_images.txt`` of the run, one ``name<TAB>reason`` per line, names with their control
            characters escaped; entries that it holds already count (a resumed run). None keeps the names in
            memory.
        limit: most distinct names that are tolerated.
    """

    def __init__(self, path: Path | None, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._news: list[tuple[str, str]] = []
        if path is not None and path.exists():
            lines = path.read_text(errors="backslashreplace").split("\n")
            self._names = {line.rsplit("\t", 1)[0] for line in lines if line}

    def __len__(self) -> int:
        return len(self._names)

    def record(self, name: str, reason: str) -> None:
        """Note one undecodable sample.

        Raises:
            UserError: when there are more distinct ones than the limit.
        """
        name = visible(name)
        with self._lock:
            if name in self._names:
                return
            self._names.add(name)
            self._news.append((name, reason))
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(f"{name}\t{' '.join(reason.split())}\n")
            if len(self._names) > self._limit:
                where = f"listed in {self._path}" if self._path is not None else f"the last one is {name}"
                raise UserError(
                    f"{len(self._names)} images cannot be decoded, more than the {self._limit} tolerated "
                    f"({where}): mend or remove them, or raise --max-bad-images"
                )

    def news(self) -> list[tuple[str, str]]:
        """Names and reasons since the last call."""
        with self._lock:
            news, self._news = self._news, []
        return news

    def extend(self, found: list[tuple[str, str]]) -> None:
        """Note what other processes found. Raises as ``record`` does."""
        for name, reason in found:
            self.record(name, reason)
        self.news()


def default_limit(count: int) -> int:
    """The most undecodable images that a source of ``count`` may have: max(10, 0.1 %)."""
    return max(10, count // 1000)
