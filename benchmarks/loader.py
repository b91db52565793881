"""fastssl's loader against others: the same files, the same operations, the same number of views.

Every contender applies the whole augmentation of ``benchmarks.contenders.CHAIN`` at 224 pixels, uint8 out,
but for FFCV, which can only crop and flip, and SPDL and nvImageCodec, which only decode: compare them with
fastssl's outputs "crops" and "pixels". Each has a process of its own, they take turns, and medians of five
rounds count, after one that warms up. Core-microseconds are user and system time of all of its threads and
processes.

``--data-kind`` puts the same images into large files, and fastssl beside itself on files and beside those who
read such files, with torchvision's transforms: ``parquet`` into one Parquet file, for DataLoaders over
``datasets`` and over pyarrow; ``tar`` into tar shards, for webdataset, and into the shards of MosaicML's
streaming and litdata; ``s3`` into the same behind a server of S3 on loopback (moto's), where each pass
fetches all of them.

``--task detection`` takes images with boxes instead: resized by their short side, mirrored, normalized and
put into padded batches of 16, beside torchvision's ``tv_tensors`` in a DataLoader. Output "detection-uint8"
is less work: it ends with a list of uint8 images, for a model that does the rest.

``--device cuda`` adds fastssl's backends as training on a GPU sees them, whole and normalized views in its
memory, beside which images per second count; ``--device cpu`` is a trial of the same without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.command import ImageOptions, run_benchmark
from benchmarks.contenders import LEAVES_OUT, OF_KINDS, OTHERS
from benchmarks.contenders.detection import DETECTION_CASES
from benchmarks.images import image_folder, shards_of, write_parquet, write_shards
from benchmarks.object_storage import object_storage, upload
from benchmarks.rounds import Case, Row, measure
from pipelines.command.errors import UserError, run_command
from pipelines.command.ranges import Count, Counts

_OUTPUTS = ("views", "crops", "pixels")  # fastssl's


if TYPE_CHECKING:
    Contender = str
else:
    Contender = Literal[OTHERS]


@dataclass(frozen=True, kw_only=True)
class Options(ImageOptions):
    """Options of the benchmark."""

    views: Counts = (1, 2, 4, 8)
    """Views per image, one table column each."""
    against: tuple[Contender, ...] = OTHERS
    """Other loaders to measure."""
    threads: Count = 1
    """Threads per contender."""
    data_kind: Literal["files", "parquet", "tar", "s3"] = "files"
    """parquet, tar, s3: read the same images from such files too; s3: tar shards in object storage."""
    task: Literal["views", "detection"] = "views"
    """detection: images with boxes, one view each."""
    device: Literal["cpu", "cuda"] | None = None
    """Measure fastssl's backends too, handing over there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task == "detection" and (self.data_kind != "files" or self.device is not None):
            raise UserError("--task detection reads files on the CPU: leave --data-kind and --device out")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("loader", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    if options.device == "cuda":
        import torch  # slow to import

        if not torch.cuda.is_available():
            raise UserError("--device cuda: torch sees no GPU here; --device cpu is a trial without")
    rows: list[Row] = []
    missing: set[tuple[str, str]] = set()
    with image_folder(options.data, options.images) as folder, ExitStack() as stack:
        if options.data_kind == "parquet":
            write_parquet(folder)
        elif options.data_kind != "files":
            write_shards(folder)
        if options.data_kind == "s3":
            stack.enter_context(object_storage())
            upload(shards_of(folder))
        for views in options.views if options.task == "views" else (1,):
            wanted = [case for case in _cases(options, views) if (case.contender, case.output) not in missing]
            measured = measure(wanted, folder)
            missing |= _names(wanted) - _names(measured)  # not installed, which is said once
            rows += measured
    return [asdict(row) for row in rows]


def _cases(options: Options, views: int) -> list[Case]:
    """Contenders that take turns at a number of views; with a device fastssl's backends too."""
    on_cpu = [
        Case(contender=name, output=output, views=views, threads=options.threads)
        for name, output in _contenders(options)
    ]
    if options.device is None or options.data_kind != "files":
        return on_cpu
    from pipelines.backends.backend import BACKENDS  # with torch, slow to import

    return on_cpu + [
        Case(contender="backend", output=name, views=views, threads=options.threads, device=options.device)
        for name in BACKENDS
        if name != "fake"  # loads nothing
    ]


def _contenders(options: Options) -> list[tuple[str, str]]:
    """Names and outputs: fastssl with each of its own, others beside its like."""
    names = ("fastssl", *options.against)
    if options.task == "detection":
        return [(name, output) for name, output in DETECTION_CASES if name in names]
    if options.data_kind != "files":
        kind = options.data_kind
        return [("fastssl", "views"), ("fastssl", kind), *((name, kind) for name in OF_KINDS[kind])]
    return [
        (name, output)
        for output in _OUTPUTS
        for name in names
        if name == "fastssl" or output == LEAVES_OUT.get(name, "views")
    ]


def _names(cases: Sequence[Case]) -> set[tuple[str, str]]:
    return {(case.contender, case.output) for case in cases}


if __name__ == "__main__":
    run_command(main)
