"""Write the features of images: python -m fastssl.features RUN_OR_CHECKPOINT OUT.npz --data WHERE"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro

from fastssl.distributed.device import DeviceName
from fastssl.evaluate.feature_cache import FeatureCache, feature_key
from fastssl.evaluate.features import FeatureConfig, Features, extract
from fastssl.evaluate.subject import weights_digest
from fastssl.export.load import OpenedEncoder, open_encoder
from fastssl.foreign.layouts import chosen_layout
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.places import join_repeated
from pipelines.command.ranges import SmallCount, check_ranges
from pipelines.files.atomic import atomic_file
from pipelines.sources import Source, open_source
from pipelines.sources.subset import Subset

PART = 10_000  # images encoded between two writes
_NO_BOUND = 1 << 60  # bytes: parts of the file that is being made


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the features of images with their paths and labels; an interrupted command resumes."""

    encoder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ENCODER")]
    """Run folder, one of its checkpoints, or weights of another library."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """New file, .npz or .parquet."""
    data: str
    """Images, as the training's --data names them."""
    split: Literal["train", "test"] = "train"
    """Split of the images; train is all of them where there are none."""
    layout: str = "auto"
    """Layout of weights of another library, as python -m fastssl.evaluate takes it."""
    device: DeviceName = "auto"
    """Device to compute on; auto takes a CUDA GPU if there is one. mps (Apple's) is untested."""
    workers: SmallCount = 0
    """Loader threads; 0 takes every core."""

    def __post_init__(self) -> None:
        check_ranges(self)


def main(argv: list[str] | None = None) -> int:
    """The command."""
    prog = "python -m fastssl.features"
    options = read_options(Options, prog, join_repeated(sys.argv[1:] if argv is None else argv))
    check_out(options.out)
    opened = open_encoder(options.encoder, chosen_layout(options.layout))
    source = open_source(options.data, options.split)
    if not len(source.index):
        raise UserError(f"{options.data} has no images: give some")
    config = opened.to_device(options.device, options.workers)
    parts = FeatureCache(options.out.with_name(f"{options.out.name}.parts"), _NO_BOUND)
    features, labels = encode_in_parts(opened, source, config, parts)
    try:
        _write(options.out, features.numpy(), labels.numpy(), source)
    except OSError as error:
        raise UserError(
            f"cannot write {options.out} ({error.strerror}): free some space and run the same command again"
        ) from None
    _remove(parts.folder)
    print(f"{options.out}: {len(features)} images, {features.shape[1]} features")
    return 0


def check_out(out: Path) -> None:
    """Check the path of the file before anything is computed.

    Raises:
        UserError: it exists, its folder does not, or it is of another kind.
    """
    if out.suffix not in (".npz", ".parquet"):
        raise UserError(f"{out} must end in .npz or .parquet")
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists, and nothing is overwritten: choose another name, or remove it")
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent}: make it, or choose another place for {out.name}")
    if out.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"{out} needs the package pyarrow: pip install pyarrow, or write an .npz")


def encode_in_parts(
    opened: OpenedEncoder, source: Source, config: FeatureConfig, parts: FeatureCache
) -> Features:
    """Features of every image, each part of them read where it was written before.

    Returns:
        features float32 [N, D] and labels int64 [N] (-1: none), in the order of the source.
    """
    count, digest = len(source.index), weights_digest(opened.encoder)
    done = []
    for first in range(0, count, PART):
        end = min(first + PART, count)
        part = Subset(source, np.arange(first, end))
        key = feature_key(digest, part, config)
        found = parts.read(f"{first}-{end}", key)
        if found is None:
            found = extract(opened.encoder, part, config, f"features: images {first} to {end} of {count}")
            parts.write(f"{first}-{end}", key, found)
        done.append(found)
    return torch.cat([features for features, _ in done]), torch.cat([labels for _, labels in done])


def _remove(folder: Path) -> None:
    """Remove the parts, and their folder where nothing else lies there."""
    for path in folder.glob("[0-9]*-[0-9]*-*.npz"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _write(out: Path, features: np.ndarray, labels: np.ndarray, source: Source) -> None:
    paths = [source.describe(index) for index in range(len(labels))]
    names = source.index.class_names
    with atomic_file(out) as file:
        if out.suffix == ".npz":
            arrays = {"features": features, "labels": labels, "paths": np.array(paths)}
            np.savez(file, allow_pickle=False, **arrays, class_names=np.array(names, dtype=np.str_))
            return
        import pyarrow
        import pyarrow.parquet

        rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.ravel()), features.shape[1])
        classes = [names[label] if label >= 0 else None for label in labels]
        columns = {"path": paths, "label": labels, "class": pyarrow.array(classes, pyarrow.string())}
        pyarrow.parquet.write_table(pyarrow.table({**columns, "features": rows}), file)


if __name__ == "__main__":
    run_command(main)
