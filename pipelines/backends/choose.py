"""Open the batches of a plan (``open_loader``) with a backend, chosen for a reason that is said.

cpu       threads decode; on a GPU our kernels render the views there
dali      DALI decodes (on a GPU: there), our kernels render
ffcv      FFCV reads a .beton and runs our decoder and CPU renderer in its compiled code
resident  all images are decoded once and stay in the device's memory
fake      one ready batch again and again: the training step's own bound
"""

from __future__ import annotations

from importlib import import_module

import torch

from pipelines.backends.backend import BACKENDS, Backend, LoaderConfig, Pipeline
from pipelines.backends.loader import Loader
from pipelines.backends.resident import decoded_bytes, free_bytes
from pipelines.sources import Source

_SMALL_SHARE = 0.1  # of the free memory of a GPU: what decoded images may take there unasked


def open_loader(config: LoaderConfig) -> Loader:
    """Open the batches of a plan: for training, evaluation and benchmarks alike.

    Raises:
        UserError: the backend is not installed, or cannot make what is asked of it.
    """
    name, _ = choose_pipeline(config.pipeline, config.source, config.device)
    return Loader(config, backend_class(name))


def backend_class(name: str) -> type[Backend]:
    """The class of a backend, imported here and now."""
    module, _, attribute = BACKENDS[name].partition(":")
    found: type[Backend] = getattr(import_module(module), attribute)
    return found


def choose_pipeline(pipeline: Pipeline, source: Source, device: torch.device) -> tuple[str, str]:
    """A backend's name, and why it was taken."""
    if pipeline != "auto":
        backend = backend_class(pipeline)
        if backend.stand_in is not None and (missing := backend.missing()) is not None:
            name, word = backend.stand_in
            return name, f"{missing}; {word}"
        return pipeline, "as told"
    if device.type != "cuda":
        return "cpu", "no GPU"
    if decoded_bytes(source.index) <= _SMALL_SHARE * free_bytes(device):
        return "resident", "the decoded images take less than a tenth of the GPU's memory"
    if backend_class("dali").missing() is None:
        return "dali", "DALI is installed"
    return "cpu", "DALI is not installed"
