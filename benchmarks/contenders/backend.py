"""fastssl's backends, as training sees them: finished views, normalized, handed over on a device.

They are bfloat16 on a GPU and float32 on a CPU. On a GPU a pass is several epochs of the files, so that its
beginning does not count for much, and it is over when the GPU is done. FFCV reads the same files, byte for
byte, from a .beton.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module

import torch

from benchmarks.contenders import Batch, Pass, Work
from pipelines.backends.backend import BACKENDS, LoaderConfig
from pipelines.backends.choose import backend_class, open_loader
from pipelines.decode.bad_images import BadImages
from pipelines.pack import Options, pack
from pipelines.plan.plan import evaluation_plan
from pipelines.sources import Source, folder
from pipelines.sources.beton.beton import open_beton
from pipelines.views import ViewGroup

_LEAST_ON_GPU = 8192  # images of a pass


def _passes(name: str, work: Work) -> Pass:
    for module in backend_class(name).requires:
        import_module(module)
    device = torch.device(work.device)
    source = _source(name, work)
    plan = evaluation_plan(len(source.index), work.batch_size, shuffle=True)
    epochs = -(-_LEAST_ON_GPU // plan.count) if device.type == "cuda" else 1
    config = LoaderConfig(
        source=source,
        groups=(ViewGroup(spec=work.spec, num_views=work.views),),
        plan=plan,
        start_step=0,
        stop_step=epochs * plan.batches_per_epoch,
        bad_images=BadImages(None, 0),
        device=device,
        dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
        pipeline=name,
        workers=work.threads,
    )
    loader = open_loader(config)

    def run() -> Iterator[Batch]:
        loader.load_state_dict({"step": 0})
        for batch in loader:
            yield batch.each_view()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def _source(name: str, work: Work) -> Source:
    if name != "ffcv":
        return folder.open_split(str(work.folder), "train", cache=work.folder.with_name("index"))
    path = work.folder.with_name(f"backend-{work.views}.beton")
    pack(Options(src=str(work.folder), dst=path, split="train", workers=work.threads))
    return open_beton(str(path), "train")


OUTPUTS: dict[str, Callable[[Work], Pass]] = {name: partial(_passes, name) for name in BACKENDS}
