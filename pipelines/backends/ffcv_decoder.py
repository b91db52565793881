"""Our decoder operation for FFCV's Loader: an image is decoded once, and all its views are rendered from it.

FFCV compiles an operation anew for every Loader. So that this takes seconds and no more, the renderer is
called as FFCV calls its own C++ code, by address; it comes from numba's cache. Nothing here imports FFCV
before it is used.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import types

from pipelines.backends.buffers import VIEW_DTYPES
from pipelines.decode.decode import MAX_PIXELS
from pipelines.files.kernels import njit
from pipelines.render.cpu import Workspace, _render, render_constants
from pipelines.render.finish import NUMBER_BYTES
from pipelines.views import VIEW_PARAMETERS, ViewGroup

_RAW = 1  # FFCV's mode of an image that is stored as pixels; 0: as JPEG
_IMAGE = "image"  # the field that is taken where a file has several of images


@dataclass(frozen=True, eq=False)
class ViewLayout:
    """Memory layout of the views of a batch: group after group, each [K_g, B, S_g, S_g, 3]."""

    groups: tuple[ViewGroup, ...]
    """The views of a sample, numbered across the groups."""
    dtype: torch.dtype
    """Dtype of the views."""
    spans: np.ndarray
    """int64 [G, 4]; of each group its first view, K_g, and its begin and end in bytes per sample."""
    constants: np.ndarray
    """Constants of the last steps of each group, FINISH [G]."""

    @classmethod
    def of(cls, groups: tuple[ViewGroup, ...], dtype: torch.dtype) -> ViewLayout:
        """The layout of finished views."""
        constants = np.concatenate([render_constants(group.spec, VIEW_DTYPES[dtype]) for group in groups])
        views = np.array([group.num_views for group in groups])
        sizes = 3 * views * constants["size"].astype(np.int64) ** 2 * NUMBER_BYTES[constants["format"][0]]
        spans = np.stack([np.cumsum(views) - views, views, np.cumsum(sizes) - sizes, np.cumsum(sizes)], 1)
        return cls(groups, dtype, spans, constants)

    @property
    def sample_bytes(self) -> int:
        """Bytes of all views of a sample."""
        return int(self.spans[-1, 3])

    def table(self, samples: int) -> np.ndarray:
        """Memory for the parameters of all views of a batch, VIEW_PARAMETERS [V, samples]."""
        return np.zeros((int(self.spans[:, 1].sum()), samples), VIEW_PARAMETERS)

    def tensors(self, memory: np.ndarray) -> tuple[torch.Tensor, ...]:
        """The ``views`` of a ``Batch`` in its memory, uint8 [B, sample_bytes]."""
        count, flat = len(memory), torch.from_numpy(memory).view(-1)
        return tuple(
            flat[begin * count : end * count]
            .view(self.dtype)
            .view(views * count, group.spec.size, group.spec.size, 3)
            .permute(0, 3, 1, 2)  # channels-last
            for group, (_, views, begin, end) in zip(self.groups, self.spans.tolist(), strict=True)
        )


class ViewDecoder:
    """A decoder of FFCV's image field (has what its ``Operation`` has).

    Its result are two arrays: the memory of ``ViewLayout``, and for each sample, uint8 [B, 1], whether it is
    to be made otherwise: 1 where FFCV's decoder gives an error or a warning, the JPEG is of another size than
    the file says, the pixels are not there, or the file has been cut short.

    The ``storage_state`` of a batch has to be the file's descriptor and bytes, int64 [2]; the addresses of
    what lies in it, in order, and its sizes, as FFCV has them; the parameters, VIEW_PARAMETERS [V, B] or
    more; and ``spans`` and ``constants`` of the layout.

    Args:
        layout: of what is made.
        workers: threads.
        iterator: FFCV's choice of ``range`` or ``prange``.
    """

    def __init__(self, layout: ViewLayout, workers: int, iterator: type) -> None:
        self._layout, self._workers, self._iterator = layout, workers, iterator
        self._make_share = _share_maker()

    def accept_field(self, field: Any) -> None:
        """No-op: every image field will do."""

    def accept_globals(self, metadata: np.ndarray, memory_read: Any) -> None:
        """No-op."""

    def declare_state_and_memory(self, previous_state: Any) -> tuple[Any, tuple[Any, Any]]:
        """Declare the memory of each sample: its views, and one byte."""
        query, level = _ffcv("pipeline.allocation_query").AllocationQuery, np.dtype(np.uint8)
        queries = query((self._layout.sample_bytes,), level), query((1,), level)
        return replace(previous_state, jit_mode=True, dtype=level), queries

    def declare_shared_memory(self, previous_state: Any) -> None:
        """No-op."""

    def generate_code_for_shared_state(self) -> None:
        """No-op."""

    def generate_code(self) -> Callable[..., Any]:
        """The function that makes a batch, yet to be compiled."""
        make_share, workers, iterator = self._make_share, self._workers, self._iterator

        def decode(rows, memory, metadata, storage_state):
            views, failed = memory
            for worker in iterator(workers):
                make_share(worker, workers, rows, views, failed, metadata, storage_state)
            return views, failed

        decode.is_parallel = True  # type: ignore[attr-defined]
        return decode


@cache
def _share_maker() -> Callable[..., None]:
    """A compiled function that makes every ``workers``-th sample of a batch."""
    library, render_all = _ffcv("libffcv"), _renderer()
    decode_jpeg, read = njit(nogil=True)(library.imdecode), njit(nogil=True)(library.read)

    @njit(nogil=True)
    def make_share(worker, workers, rows, views, failed, metadata, storage_state):
        file, addresses, lengths, parameters, spans, constants = storage_state
        encoded, pixels, words = np.empty(0, np.uint8), np.empty(0, np.uint8), np.empty(0, np.uint16)
        for slot in range(worker, len(rows), workers):
            image = metadata[rows[slot]]
            begin = np.int64(image["data_ptr"])
            length = np.int64(lengths[np.searchsorted(addresses, image["data_ptr"])])
            height, width = np.int64(image["height"]), np.int64(image["width"])
            size = 3 * height * width
            failed[slot, 0] = 1
            if not 0 <= length <= file[1]:
                continue
            if len(encoded) < length:
                encoded = np.empty(length, np.uint8)
            data = encoded[:length]
            if read(file[0], data, begin) != length:
                continue
            if image["mode"] == _RAW:
                if len(data) == size > 0:
                    stored = data.reshape(height, width, 3)
                    words = render_all(stored, slot, parameters, spans, constants, views, failed, words)
                continue
            if not 0 < height * width <= MAX_PIXELS or jpeg_size(data) != (height, width):
                continue
            if len(pixels) < size:
                pixels = np.empty(size, np.uint8)
            if decode_jpeg(data, pixels, height, width, height, width, 0, 0, 1, 1, False, False) == 0:
                decoded = pixels[:size].reshape(height, width, 3)
                words = render_all(decoded, slot, parameters, spans, constants, views, failed, words)

    return make_share


def _renderer() -> Callable[..., np.ndarray]:
    """A compiled function that renders all views of an image, and hands back what is now its scratch."""
    Workspace()  # the renderer is compiled, or comes from numba's cache
    (compiled,) = _render.overloads.values()
    render = types.CompileResultWAP(compiled)

    @njit(nogil=True)
    def render_all(image, slot, parameters, spans, constants, views, failed, words):
        count, memory = len(views), views.reshape(-1)
        for group in range(len(spans)):
            first, num_views, begin, end = spans[group]
            size, row_bytes = np.int64(constants[group].size), 3 * NUMBER_BYTES[constants[group].format]
            out = memory[begin * count : end * count].reshape(num_views, count, size, size, row_bytes)
            table, finish = parameters[first : first + num_views, :count], constants[group : group + 1]
            needed = render(image, table, slot, finish, out, words)
            if needed > 0:
                words = np.empty(needed, np.uint16)
                needed = render(image, table, slot, finish, out, words)
            if needed != 0:
                return words
        failed[slot, 0] = 0
        return words

    return render_all


@njit(cache=True, nogil=True)
def jpeg_size(data):
    """Height and width that the header of a JPEG names, uint8 [n]; (0, 0) where they are not to be found."""
    position: Any = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = np.int64(data[position + 5]) << 8 | np.int64(data[position + 6])
            return height, np.int64(data[position + 7]) << 8 | np.int64(data[position + 8])
        position += 2 + (np.int64(data[position + 2]) << 8 | np.int64(data[position + 3]))
    return np.int64(0), np.int64(0)


# --- FFCV's Loader ------------------------------------------------------------------------------------------


@contextmanager
def settings_kept() -> Iterator[None]:
    """Keep the number of torch's threads, which FFCV sets, and hide warnings of its own code."""
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)


def open_loader(path: Path, layout: ViewLayout, samples: int, workers: int, prefetch: int) -> Any:
    """FFCV's Loader of the images of a file alone, with our decoder.

    Args:
        path: a ``.beton`` with an image field that ``sources.beton`` takes.
        layout: of the views.
        samples: of a batch, at most.
        workers: threads, at most numba's.
        prefetch: batches under way beside the one in use; one is taken for two.
    """
    with settings_kept():
        pipeline = _ffcv("pipeline")
        pipeline.Compiler.set_num_threads(workers)  # what its choice of an iterator depends on
        decoder = ViewDecoder(layout, workers, pipeline.Compiler.get_iterator())
        handlers = _ffcv("reader").Reader(str(path)).handlers
        kind = _ffcv("fields").RGBImageField
        images = [name for name, field in handlers.items() if isinstance(field, kind)]
        image = _IMAGE if _IMAGE in images else images[0]
        return _loader_type()(
            str(path),
            batch_size=samples,
            num_workers=workers,
            os_cache=True,
            pipelines=dict.fromkeys(handlers) | {image: pipeline.PipelineSpec(image, decoder=decoder)},
            batches_ahead=max(prefetch - 1, 1),  # beside the one that is being made; 0 is without a bound
        )


@cache
def _loader_type() -> Any:
    """FFCV's Loader, without the function that it compiles to read from the file.

    Compiling it changes numba's type of vectors of bytes in place, to a read-only one, for the whole process.
    """
    base: Any = _ffcv("loader").Loader

    class Loader(base):
        @property
        def memory_manager(self) -> Any:
            """Set by the base's constructor."""
            return self._memory_manager

        @memory_manager.setter
        def memory_manager(self, manager: Any) -> None:
            manager.compile_reader = lambda: None
            self._memory_manager = manager

    return Loader


def _ffcv(module: str) -> Any:
    return importlib.import_module(f"ffcv.{module}")
