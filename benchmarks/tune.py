"""Sizes of the GPU kernels' programs and their warps: a short list of each, timed on the card at hand.

Each kernel of the renderer takes turns with settings of its own, the others as they are; a row is what a view
of the whole chain costs then, as in ``benchmarks.views``. Likewise the optimizer's, with a LARS step of a
ResNet-50 and its teacher. All settings are compiled first, in processes side by side. Needs a CUDA device.

The fastest go into ``pipelines.render.gpu`` and ``fastssl.optim.multi_tensor_tables`` by hand.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import torch
from torchvision.models import resnet50

from benchmarks.command import ResultOptions, run_benchmark
from benchmarks.contenders import CHAIN, Decoded, open_renderer
from benchmarks.images import generated_jpegs
from benchmarks.optimizer import ready_step
from benchmarks.turns import Run, Turn, quartiles, take_turns, warm_turn
from pipelines.command.errors import UserError, run_command
from pipelines.command.ranges import Count
from pipelines.decode.decode import decode

_RENDERER, _OPTIMIZER = "pipelines.render.gpu", "fastssl.optim.multi_tensor_tables"
_GPU = torch.device("cuda")
_VIEWS = 2  # of each image
_COMPILERS = 12  # processes


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Constants of a module, in the place of its own."""

    module: str
    values: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """The constants in words; "as it is" where there are none."""
        return " ".join(f"{name}={value}" for name, value in self.values) or "as it is"


def _settings(module: str, names: Sequence[str], *choices: tuple[int, ...]) -> list[Setting]:
    return [Setting(module=module, values=tuple(zip(names, values, strict=True))) for values in choices]


_RESAMPLE = ("TILE_Y", "TILE_X", "RESAMPLE_WARPS")
_BLUR = ("BLUR_DOWN", "BLUR_ACROSS", "BLUR_WARPS")
SETTINGS = (
    *_settings(_RENDERER, (), ()),
    *_settings(
        _RENDERER, _RESAMPLE, (16, 32, 4), (8, 16, 1), (1, 128, 2), (1, 256, 4), (1, 128, 4), (4, 32, 4)
    ),
    *_settings(_RENDERER, _BLUR, (32, 32, 4), (32, 16, 2), (64, 16, 4), (128, 16, 4), (16, 32, 2)),
    *_settings(_OPTIMIZER, (), ()),
    *_settings(_OPTIMIZER, ("CHUNK", "BLOCK", "WARPS"), (4096, 1024, 4), (8192, 2048, 4), (32768, 2048, 4)),
    *_settings(_OPTIMIZER, ("CHUNK", "BLOCK", "WARPS"), (16384, 1024, 4), (16384, 2048, 2)),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A setting: medians of the rounds."""

    kernels: str
    """renderer or optimizer."""
    setting: str
    us: float
    """Microseconds of the GPU's clock, per view or per step."""
    us_quartiles: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions):
    """Options of the benchmark."""

    images: Count = 256
    """Images of a batch."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("tune", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        raise UserError("python -m benchmarks.tune needs a GPU, and torch sees none here")
    torch.set_num_threads(1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(_COMPILERS, len(os.sched_getaffinity(0))), context) as pool:
        compiled = [pool.submit(compile_setting, setting) for setting in SETTINGS]
        runs = dict([*renders(options.images), *steps()])
        for done in compiled:
            done.result()
    turns = {setting: _turn(setting, run) for setting, run in runs.items()}
    taken, _ = take_turns(list(turns.values()))
    rows = []
    for setting, turn in turns.items():
        parts = options.images * _VIEWS if setting.module == _RENDERER else 1
        low, middle, high = quartiles([once.clock_s for once in taken[turn]], parts)
        kernels = "renderer" if setting.module == _RENDERER else "optimizer"
        rows.append(Row(kernels=kernels, setting=setting.name, us=middle, us_quartiles=(low, high)))
    return [asdict(row) for row in rows]


def renders(images: int) -> Iterator[tuple[Setting, Run]]:
    """Renders of a batch with each setting of the renderer."""
    decoded = [decode(content) for content in generated_jpegs(images)]
    render = open_renderer("triton", Decoded(images=decoded, views=_VIEWS, spec=CHAIN, device=_GPU))
    for setting in SETTINGS:
        if setting.module == _RENDERER:
            yield setting, render


def steps() -> Iterator[tuple[Setting, Run]]:
    """LARS steps, with a teacher, with each setting of the optimizer, whose tables depend on it."""
    network = resnet50().to(_GPU).to(memory_format=torch.channels_last)
    for setting in SETTINGS:
        if setting.module == _OPTIMIZER:
            yield setting, ready_step(network, "lars", "triton", average=True)


def compile_setting(setting: Setting) -> None:
    """Leave the compiled kernels in Triton's cache, on the disk."""
    with applied(setting):
        _, run = next(renders(2) if setting.module == _RENDERER else steps())
        run(1)


@contextmanager
def applied(setting: Setting) -> Iterator[None]:
    """Inside, the module has the setting's constants."""
    module = import_module(setting.module)
    before = {name: getattr(module, name) for name, _ in setting.values}
    for name, value in setting.values:
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def _turn(setting: Setting, run: Run) -> Turn:
    def with_setting(times: int) -> None:
        with applied(setting):
            run(times)

    return warm_turn(setting.name, _GPU, with_setting)


if __name__ == "__main__":
    run_command(main)
