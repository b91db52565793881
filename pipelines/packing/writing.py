"""A packed data set, written: what cannot be kept is refused before, what was written is read again after."""

from __future__ import annotations

import errno
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.progress import show_progress, stream_in_threads
from pipelines.decode.bad_images import default_limit
from pipelines.decode.decode import UndecodableImageError, decode
from pipelines.files.atomic import folder_aside
from pipelines.keys import stable_id
from pipelines.packing.cityscapes_folder import CITYSCAPES
from pipelines.packing.coco_folder import COCO
from pipelines.packing.layout import Layout
from pipelines.packing.ledger import Ledger, digest
from pipelines.packing.options import Options
from pipelines.packing.packed_image import PackedImage, pack_image
from pipelines.packing.upload import address_of, empty_storage, upload_shards
from pipelines.sources import NoSplitError, Source, Split, open_source, shards
from pipelines.sources.beton.beton import open_beton
from pipelines.sources.beton.format import BetonRow, write_beton
from pipelines.sources.identity import printable
from pipelines.sources.notes import untold
from pipelines.sources.reading import read_sample
from pipelines.sources.shards import key_of, write_shard
from pipelines.sources.source import KeyedSource
from pipelines.sources.torchvision_dataset import open_torchvision
from pipelines.targets import target_kinds_of

_FILE_NAMES: dict[Split, str] = {"train": "train", "test": "val"}
_LAYOUTS = {"coco": COCO, "cityscapes": CITYSCAPES}
_MOST_PIXELS_A_SIDE = 0xFFFF  # in a .beton


def write_packed(options: Options) -> list[str]:
    """Write ``options.src`` as ``options.dst``; returns what was done, in lines.

    Shards for an object storage are written to this machine's folder for temporary files first.

    Raises:
        UserError: options that do not fit, an unreadable source, more undecodable images than
            ``default_limit``, a disk that is full or broken, or a storage that refuses. ``dst`` does not
            exist then, but for shards that a storage took before it failed.
    """
    url = address_of(options.dst)
    if url is None:
        done, size = _pack_here(options)
    else:
        if options.format not in (None, "shards") or options.dst.suffix == ".beton":
            raise UserError(f"{url}: object storage takes shards; write other formats to a disk")
        storage = empty_storage(url)
        with tempfile.TemporaryDirectory(prefix="fastssl-pack-") as folder:
            here = replace(options, dst=Path(folder) / "shards", format="shards")
            done, size = _pack_here(here)
            upload_shards(here.dst, storage, url)
    return [*done, f"wrote {url or options.dst}, {size / 1e6:.1f} MB"]


def _pack_here(options: Options) -> tuple[list[str], int]:
    """Write to a disk; returns a line per split, and bytes."""
    _check_options(options)
    layout = _LAYOUTS.get(options.format or "")
    sources = _open_splits(options)
    for source in sources.values():
        if layout is not None:
            _check_targets(source, options, layout)
        _check_source(source, options)
    dst = options.dst
    done: list[str] = []
    try:
        with folder_aside(dst) as aside:
            for split, source in sources.items():
                ledger = Ledger(source, layout.kinds if layout is not None else frozenset())
                written: Source
                if layout is not None:
                    images = _pack_all(source, options, ledger)
                    layout.write_split(source, aside, split, images, options.threads)
                    with tempfile.TemporaryDirectory() as cache:
                        written = layout.open_split(str(aside), split, Path(cache))
                elif options.container == "shards":
                    _write_shards(source, aside, split, options, ledger)
                    own: Split = "test" if split == "test" and "train" in sources else "train"
                    with tempfile.TemporaryDirectory() as cache:  # of their own: they will be renamed
                        written = shards.open_split(str(aside), own, Path(cache))
                else:
                    path = aside / (dst.name if dst.suffix == ".beton" else f"{_FILE_NAMES[split]}.beton")
                    _write_beton(source, path, options, ledger)
                    written = open_beton(str(path), "train")
                ledger.verify(written, options.threads)
                done.append(f"{split}: {ledger.summary()}")
            result = aside / dst.name if dst.suffix == ".beton" else aside
            size = sum(file.stat().st_size for file in aside.rglob("*") if file.is_file())
            os.rename(result, dst)
    except OSError as error:
        remedy = " (free space there, or take --max-side)" if error.errno == errno.ENOSPC else ""
        raise UserError(f"cannot write {dst}: {error.strerror or error}{remedy}; nothing was kept") from None
    return done, size


# --- before -------------------------------------------------------------------------------------------------


def _check_options(options: Options) -> None:
    """Refuse what does not fit together, or a place that is taken."""
    dst = options.dst
    if dst.exists():
        raise UserError(f"{dst} exists already: remove it or choose another name")
    if not dst.parent.is_dir():
        raise UserError(f"no such folder: {dst.parent}")
    if options.container == "shards" and dst.suffix == ".beton":
        raise UserError(
            f"{dst} ends in .beton, and --format {options.format} makes a folder: choose another name"
        )
    if options.container == "shards" and options.raw_share is not None:
        raise UserError("--raw-share is for .beton files: shards hold encoded images only")
    if options.format in _LAYOUTS and options.max_side is not None:
        raise UserError(
            f"--max-side scales images alone, and --format {options.format} keeps their targets: leave "
            "one out"
        )


def _open_splits(options: Options) -> dict[Split, KeyedSource]:
    wanted: tuple[Split, ...] = ("train", "test") if options.split == "all" else (options.split,)
    sources: dict[Split, KeyedSource] = {}
    for split in wanted:
        try:
            source = _open(options, split)
        except NoSplitError:
            if options.split == "test":
                raise
            continue
        assert isinstance(source, KeyedSource)  # as every reader's
        for note in untold(source.index.notes):
            print(note, file=sys.stderr)
        if source.index.objects is not None and options.format not in _LAYOUTS:
            print(f"{options.src}: classes and boxes of its objects are not packed", file=sys.stderr)
        sources[split] = source
    if len(sources) == 2 and options.dst.suffix == ".beton":
        raise UserError(
            f"{options.src} has a train and a test split, and a .beton holds one: choose with --split, or "
            "give a folder and --format beton"
        )
    return sources


def _open(options: Options, split: Split) -> Source:
    if options.torchvision:
        return open_torchvision(options.torchvision, user_path(options.src), split)
    return open_source(options.src, split)


def _check_source(source: KeyedSource, options: Options) -> None:
    """Refuse what the container cannot hold."""
    metadata = source.index
    if options.container == "beton":
        sides = np.maximum(metadata.heights, metadata.widths)
        if options.max_side is None and sides.max() > _MOST_PIXELS_A_SIDE:
            raise UserError(
                f"{source.describe(int(sides.argmax()))} has {sides.max()} pixels a side, and a .beton holds "
                f"at most {_MOST_PIXELS_A_SIDE}: use --max-side"
            )
        return
    for index, sample_id in enumerate(metadata.sample_ids.tolist()):
        key = source.key(index)
        if key is None:
            raise UserError(
                f"{options.src} holds sample ids but no names, which shards need: pack what it was made of"
            )
        if options.format in _LAYOUTS:
            if not _LAYOUTS[options.format].keeps_key(key) or stable_id(printable(key)) != sample_id:
                raise UserError(
                    f"{source.describe(index)} cannot keep its sample id in {options.format}'s folders"
                )
        elif key_of(f"{key}.") != key or stable_id(printable(key)) != sample_id:
            raise UserError(
                f"{source.describe(index)} cannot keep its sample id in shards, where names end at the "
                "first dot and are given once: rename it, or write a .beton"
            )


def _check_targets(source: KeyedSource, options: Options, layout: Layout) -> None:
    """Refuse a source without the targets of a layout, and say which others are not kept."""
    there = target_kinds_of(source)
    if not there >= layout.kinds:
        wanted = " and ".join(sorted(layout.kinds))
        raise UserError(f"{options.src} has no {wanted} for --format {options.format}: give data that has")
    if there - layout.kinds:
        print(f"{options.src}: not packed: {', '.join(sorted(there - layout.kinds))}", file=sys.stderr)


# --- writing ------------------------------------------------------------------------------------------------


def _pack_all(source: KeyedSource, options: Options, ledger: Ledger) -> Iterator[tuple[int, PackedImage]]:
    """Yield index and packed image of each sample that can be decoded, in order."""
    metadata = source.index

    def pack_one(index: int) -> tuple[PackedImage, int] | Exception:
        try:
            data = read_sample(source, index)
            pixels = decode(data)
            size = metadata.heights[index], metadata.widths[index]
            if pixels.shape[:2] != size:
                raise UndecodableImageError(f"its size {pixels.shape[:2]} is not that of its header, {size}")
        except UndecodableImageError as error:
            return error
        packed = pack_image(data, pixels, int(metadata.sample_ids[index]), options)
        return packed, digest(packed.data)

    limit, left_out = default_limit(len(metadata)), 0
    results = stream_in_threads(pack_one, range(len(metadata)), options.threads)
    for index, result in enumerate(show_progress(results, len(metadata), "Packing")):
        if isinstance(result, Exception):
            left_out += 1
            print(f"left out: {source.describe(index)}: {result}", file=sys.stderr)
            if left_out > limit:
                raise UserError(f"more than {limit} images cannot be decoded: mend or remove them")
            continue
        ledger.enter(index, *result)
        yield index, result[0]
    if left_out == len(metadata):
        raise UserError("none of the images can be decoded")


def _write_beton(source: KeyedSource, path: Path, options: Options, ledger: Ledger) -> None:
    metadata = source.index
    rows = (
        BetonRow(
            packed.data,
            sample_id=int(metadata.sample_ids[index]),
            label=-1 if metadata.labels is None else int(metadata.labels[index]),
        )
        for index, packed in _pack_all(source, options, ledger)
    )
    class_names = None if metadata.labels is None else metadata.class_names
    write_beton(path, rows, capacity=len(metadata), class_names=class_names)


def _write_shards(source: KeyedSource, folder: Path, split: Split, options: Options, ledger: Ledger) -> None:
    samples = _pack_all(source, options, ledger)
    shards = itertools.count()
    for first in samples:
        rest = itertools.chain([first], samples)
        path = folder / f"{_FILE_NAMES[split]}-{next(shards):06d}.tar"
        write_shard(path, _members(source, rest, options.shard_mb * 10**6))


def _members(
    source: KeyedSource, samples: Iterator[tuple[int, PackedImage]], limit: int
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Keys and members of samples, until they hold ``limit`` bytes."""
    metadata, size = source.index, 0
    named = metadata.class_names != tuple(map(str, range(len(metadata.class_names))))
    while size < limit and (sample := next(samples, None)) is not None:
        index, packed = sample
        members = {packed.extension: bytes(packed.data)}
        if metadata.labels is not None:
            label = int(metadata.labels[index])
            members["cls"] = str(label).encode()
            if named:
                members["json"] = json.dumps({"class_name": metadata.class_names[label]}).encode()
        size += sum(map(len, members.values()))
        yield str(source.key(index)), members
