"""Where encoded images come from: ``open_source`` finds the reader of what the user names."""

from __future__ import annotations

from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.files.cache_folder import cache_folder
from pipelines.sources.beton.beton import open_beton
from pipelines.sources.folder import holds_images, open_folder
from pipelines.sources.shards import open_shards
from pipelines.sources.source import Index, Source
from pipelines.sources.splits import NoSplitError, Split

__all__ = ["Index", "NoSplitError", "Source", "Split", "open_source"]

_KINDS = "a folder of images, .tar shards (a glob, or a range in braces), a .beton, or the built-in `scenes`"
_BETONS = (".beton", ".ffcv")  # FFCV's own ImageNet scripts name them so


def open_source(where: str, split: Split) -> Source:
    """Open one split of a data set.

    Args:
        where: ``scenes`` (built in; ``./scenes`` is a folder of that name), a folder of images (see
            ``sources.folder``), or tar shards or ``.beton`` files: a glob, a range in braces, one file or a
            folder of them (see ``sources.shards``, ``sources.beton``).
        split: "train", which is all there is where the data has no splits, or "test".

    Raises:
        NoSplitError: asked for the "test" split where there is none.
        UserError: nothing there, or nothing that can be read.
    """
    cache = cache_folder()
    name, _, variant = where.partition(":")
    if name == "scenes":
        from pipelines.sources.scenes.scenes import open_scenes  # its kernels take a while to load

        return open_scenes(split, cache, variant)
    path = Path(where).expanduser()
    if path.is_dir():
        if any(path.glob("*.tar")) and not holds_images(path):
            return open_shards(str(path), split, cache)
        if any(path.glob("*.beton")) and not holds_images(path):
            return open_beton(str(path), split)
        return open_folder(path, split, cache)
    if path.suffix in _BETONS and (path.exists() or set(where) & set("*?{")):
        return open_beton(str(path), split)
    if ".tar" in path.suffixes or path.suffix == ".tgz" or set(where) & set("*?{"):
        return open_shards(str(path), split, cache)
    if path.exists():
        raise UserError(f"{path} is no data of a known kind: give {_KINDS}")
    raise UserError(f"no such folder or file: {path}; give {_KINDS}")
