"""Weight files of other tools, read without running code from them.

.safetensors              tensors alone
.pkl                      detectron2's: a pickle of NumPy arrays; every other class in it is refused
.pt, .pth, .pth.tar ...   torch's, by ``torch.load(weights_only=True)``
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from pipelines.command.errors import UserError

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_REBUILDERS: Mapping[str, Any] = {  # what arrays are pickled by, wherever this NumPy keeps it
    "_reconstruct": np.zeros(1).__reduce__()[0],
    "scalar": np.float32(1).__reduce__()[0],
    "_frombuffer": np.zeros(1).__reduce_ex__(5)[0],
}


def read_weight_file(path: Path) -> dict[str, Any]:
    """The content of a weight file, on the CPU.

    Raises:
        UserError: it cannot be read, holds more than tensors and plain values, or is no dictionary.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load(path.read_bytes()))
        if path.suffix == ".pkl":
            found: Any = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error}): give a file of weights") from None
    except Exception as error:  # unpickling raises whatever it meets
        raise UserError(_why_not(path, error)) from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__}, not tensors by name: save a state_dict")
    return found


def tensors_by_name(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The state_dict of a file's content, unwrapped; half precision becomes float32.

    Args:
        content: return value of ``read_weight_file``.
        path: of the file, for messages.

    Raises:
        UserError: it holds none, or numbers that are not finite.
    """
    inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
    tensors = {
        str(name): torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
        for name, value in inner.items()
        if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiu")
    }
    if not tensors:
        keys = ", ".join(list(map(str, content))[:5]) or "nothing"
        raise UserError(f"{path} holds no tensors by name (but {keys}): give a file with a state_dict")
    for name, value in tensors.items():
        if value.is_floating_point():
            tensors[name] = value = value.float()
            if not value.isfinite().all():
                raise UserError(f"{path}: {name} holds values that are not finite: the weights are spoilt")
    return tensors


def _rebuild_bytes(text: str, encoding: str) -> bytes:
    """``_codecs.encode``, as pickles of protocol 2 write bytes, for that one encoding."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding}")
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """An unpickler of plain values and NumPy arrays."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """The function or class of a name, where it makes arrays and nothing else."""
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("_codecs", "encode"):
            return _rebuild_bytes
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if name in _REBUILDERS and re.fullmatch(r"numpy\._?core\.(multiarray|numeric)", module):  # NumPy 1, 2
            return _REBUILDERS[name]
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")


def _why_not(path: Path, error: Exception) -> str:
    said = " ".join(str(error).split())
    if named := re.search(r"GLOBAL ([\w.]+)", said):
        return (
            f"{path} holds more than tensors ({named[1]}), and loading that could run code: where it comes "
            "from, save its state_dict alone, best as .safetensors"
        )
    return f"{path} is no file of weights, or damaged: {said[:200] or type(error).__name__}"
