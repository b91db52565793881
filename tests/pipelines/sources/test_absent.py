import numpy as np
import pytest

from pipelines.sources.absent import AbsentSource
from tests.helpers.known_labels import labels_of


def test_an_index_without_contents() -> None:
    source = AbsentSource(23)
    index = source.index
    assert len(index) == len(np.unique(index.sample_ids)) == 23
    assert set(labels_of(index)) == set(range(len(index.class_names)))
    assert (index.heights > 0).all()
    assert index.fingerprint != AbsentSource(24).index.fingerprint
    with pytest.raises(OSError, match="image 3 is not here"):
        source.read(3)
