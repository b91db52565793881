import numpy as np
import pytest

from pipelines.sources.absent import AbsentSource


def test_an_index_without_contents() -> None:
    source = AbsentSource(23)
    index = source.index
    assert len(index) == len(np.unique(index.sample_ids)) == 23
    assert index.labels is not None
    assert set(index.labels) == set(range(len(index.class_names)))
    assert (index.heights > 0).all()
    assert index.fingerprint != AbsentSource(24).index.fingerprint
    with pytest.raises(OSError, match="image 3 is not here"):
        source.read(3)
