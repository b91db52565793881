"""A run on TensorBoard: its config and hyperparameters, its metrics beside their baselines, its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from fastssl.config import Config
from fastssl.config_values import to_dict
from fastssl.fields import leaves

_KNN = ("knn_top1", "knn_top1_untrained", "knn_top1_pixels")  # in one chart
_RESULTS = ("loss", "knn_top1")  # of the table of hyperparameters


class Board:
    """Event files of one run, opened at the step to come: what was written of later steps is void.

    Config and pictures stand at step 0, so that no resumed run loses them.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1)

    def describe(self, config: Config) -> None:
        """Write the config as text, and the fields that decide the result as hyperparameters."""
        plain = to_dict(config)
        self._writer.add_text("config", f"```\n{json.dumps(plain, indent=2)}\n```", 0)
        fields = dict(leaves(plain["experiment"])) | {"data": config.machine.data}
        values = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in fields.items()
        }
        events: Any = self._writer.file_writer  # torch's annotations have it as None
        for summary in hparams(values, dict.fromkeys(_RESULTS, 0.0)):
            events.add_summary(summary)
        self._writer.add_custom_scalars({"kNN": {"top-1": ["Multiline", list(_KNN)]}})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of one step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, path: Path) -> None:
        """Show a picture of the run folder under its name without the extension."""
        with Image.open(path) as image:
            self._writer.add_image(path.stem, np.asarray(image.convert("RGB")), 0, dataformats="HWC")

    def close(self) -> None:
        """Write out everything."""
        self._writer.close()
