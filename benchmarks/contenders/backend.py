"""fastssl's backends, as training sees them: finished views, normalized, handed over on a device.

They are bfloat16 on a GPU and float32 on a CPU. On a GPU a pass is several epochs of the files, so that its
beginning does not count for much, and it is over when the GPU is done. FFCV reads the same files, byte for
byte, from a .beton.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module

import torch

from benchmarks.contenders import Batch, Pass, Work
from benchmarks.contenders.fastssl import loader_config, open_files
from pipelines.backends.backend import BACKENDS
from pipelines.backends.choose import backend_class, open_loader
from pipelines.pack import Options, pack
from pipelines.sources import Source
from pipelines.sources.beton.beton import open_beton

_LEAST_ON_GPU = 8192  # images of a pass


def _passes(name: str, work: Work) -> Pass:
    for module in backend_class(name).requires:
        import_module(module)
    device = torch.device(work.device)
    config = loader_config(work, _source(name, work))
    epochs = -(-_LEAST_ON_GPU // config.plan.count) if device.type == "cuda" else 1
    loader = open_loader(
        replace(
            config,
            stop_step=epochs * config.stop_step,
            device=device,
            dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
            pipeline=name,
        )
    )

    def run() -> Iterator[Batch]:
        loader.load_state_dict({"step": 0})
        for batch in loader:
            yield batch.each_view()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def _source(name: str, work: Work) -> Source:
    if name != "ffcv":
        return open_files(work)
    path = work.folder.with_name(f"backend-{work.views}.beton")
    pack(Options(src=str(work.folder), dst=path, split="train", workers=work.threads))
    return open_beton(str(path), "train")


OUTPUTS: dict[str, Callable[[Work], Pass]] = {name: partial(_passes, name) for name in BACKENDS}
