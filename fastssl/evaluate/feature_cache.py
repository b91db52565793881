"""Features kept on the disk, so that the next protocol encodes nothing: RUN/features/*.npz."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastssl.evaluate.features import FeatureConfig, Features
from pipelines.files.atomic import atomic_file
from pipelines.sources import Source

LARGEST = 16 << 30  # bytes per run: ImageNet's features of one ResNet-50
_SHARE_OF_DISK = 0.25  # of what is free there: the most that a file may take
_VERSION = 1  # of the files; raise it when the same key gives other features


def feature_key(weights: str, source: Source, config: FeatureConfig) -> dict[str, Any]:
    """All that decides the features of an encoder of these weights (``weights_digest``) on images."""
    return {
        "weights": weights,
        "images": source.index.fingerprint,
        "view": asdict(config.spec),
        "precision": config.precision,
    }


@dataclass(frozen=True)
class FeatureCache:
    """Cached features of one run, a file per key. The key is all that decides them, as a JSON object.

    Files are whole or not there, checksummed (zip's CRC-32), and hold their key. Together they take at most
    ``largest`` bytes: those that were used longest ago go first.
    """

    folder: Path
    largest: int = LARGEST

    def read(self, name: str, key: Mapping[str, Any]) -> Features | None:
        """Features that were written under a name and key; None where there are none, or they are damaged."""
        path, about = self._place(name, key)
        if not path.exists():
            return None
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                found, features, labels = str(file["key"]), file["features"], file["labels"]
            if found == about:
                os.utime(path)  # used just now
                return torch.from_numpy(features), torch.from_numpy(labels)
            reason = "it is of something else"
        except Exception as error:  # whatever reading a damaged zip file leads to
            reason = str(error)
        print(f"{path} cannot be used ({' '.join(reason.split())}): made anew", file=sys.stderr)
        return None

    def write(self, name: str, key: Mapping[str, Any], features: Features) -> bool:
        """Keep features. Where the disk or the bound refuses them, say so in a line and return False."""
        path, about = self._place(name, key)
        arrays = features[0].numpy(), features[1].numpy()
        needed = sum(array.nbytes for array in arrays)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            most = min(self.largest, int(_SHARE_OF_DISK * shutil.disk_usage(self.folder).free))
            if needed > most:
                raise OSError(0, f"{needed / 1e9:.1f} GB are more than the {most / 1e9:.1f} GB they may take")
            self._make_room(needed, path)
            with atomic_file(path) as file:
                np.savez(file, features=arrays[0], labels=arrays[1], key=np.array(about))
        except OSError as error:
            print(f"features are not kept in {self.folder}: {error.strerror or error}", file=sys.stderr)
            return False
        return True

    def _place(self, name: str, key: Mapping[str, Any]) -> tuple[Path, str]:
        """The file of a key, and the key as text."""
        about = json.dumps({"version": _VERSION, **key}, sort_keys=True)
        digest = hashlib.blake2b(about.encode(), digest_size=8).hexdigest()
        return self.folder / f"{name}-{digest}.npz", about

    def _make_room(self, needed: int, path: Path) -> None:
        """Delete the files used longest ago until ``needed`` bytes fit."""
        others = [(other.stat(), other) for other in self.folder.glob("*.npz") if other != path]
        taken = sum(stat.st_size for stat, _ in others)
        for stat, other in sorted(others, key=lambda entry: entry[0].st_mtime):
            if taken + needed <= self.largest:
                return
            other.unlink(missing_ok=True)
            taken -= stat.st_size
