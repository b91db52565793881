"""Samples of another source, over and over: an epoch of more samples than there are."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from pipelines.keys import stable_id
from pipelines.sources.source import Source
from pipelines.sources.subset import Subset


class Repeated(Subset):
    """The first ``count`` of the samples of ``source`` repeated without end.

    A repetition has an id of its own, so that its view is another than that of the sample itself.
    """

    def __init__(self, source: Source, count: int) -> None:
        own = len(source.index)
        super().__init__(source, np.arange(count) % own)
        ids = self.index.sample_ids.copy()
        for index in range(own, count):
            ids[index] = stable_id(f"{ids[index]}/{index // own}")
        which = f"{source.index.fingerprint} x {count}"
        self.index = replace(
            self.index,
            sample_ids=ids,
            fingerprint=hashlib.blake2b(which.encode(), digest_size=16).hexdigest(),
        )
