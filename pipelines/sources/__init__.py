"""Sources of encoded images: ``open_source`` finds the reader of what the user names."""

from __future__ import annotations

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.places import refuse_secrets
from pipelines.files.cache_folder import cache_folder
from pipelines.sources import cityscapes, folder, image_list, scenes, several, shards, voc
from pipelines.sources.beton import beton
from pipelines.sources.coco import coco
from pipelines.sources.parquet import parquet
from pipelines.sources.remote import remote
from pipelines.sources.source import Index, Reader, Source
from pipelines.sources.splits import NoSplitError, Split

__all__ = ["Index", "NoSplitError", "Source", "Split", "open_source"]

# The first that takes a name opens it: this is the one place that lists the kinds of sources.
READERS: tuple[Reader, ...] = (
    *(several, remote, scenes, beton, image_list, parquet, shards),
    *(voc, coco, cityscapes, folder),
)


def open_source(where: str, split: Split) -> Source:
    """Open one split of a data set.

    Args:
        where: ``scenes`` (built in; ``./scenes`` is a folder of that name), a folder of images (see
            ``sources.folder``), tar shards, ``.beton`` or Parquet files: a glob, a range in braces, one file
            or a folder of them (see ``sources.shards``, ``sources.beton``, ``sources.parquet``), a ``.tsv``
            list of images (see ``sources.image_list``), a year of VOCdevkit, COCO's or Cityscapes' folders
            (see ``sources.voc``, ``sources.coco``, ``sources.cityscapes``); shards and Parquet files also
            behind ``s3://``, ``gs://``, ``https://`` (see ``sources.remote``); or several of these,
            ``A + B``.
        split: "train", which is all there is where the data has no splits, or "test".

    Raises:
        NoSplitError: asked for the "test" split where there is none.
        UserError: nothing there, or nothing that can be read.
    """
    if not where:
        raise UserError("the name of the images is empty: give --data WHERE, . for the current folder")
    refuse_secrets(where)
    for reader in READERS:
        if reader.takes(where):
            return reader.open_split(where, split, cache_folder())
    last, *kinds = (reader.ABOUT for reader in READERS)
    known = f"{', '.join(kinds)} or {last}"
    if user_path(where).exists():
        raise UserError(f"{user_path(where)} is no data of a known kind: give {known}")
    raise UserError(f"no such folder or file: {user_path(where)}; give {known}")
