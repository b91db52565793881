"""Images for runs in processes of their own."""

from pathlib import Path

import pytest

from tests.helpers.runs import write_images


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images of three classes to train on, 7 batches of 16, and 30 to measure on."""
    folder = tmp_path_factory.mktemp("data")
    write_images(folder / "train", 40, seed=0)
    write_images(folder / "test", 10, seed=1)
    return folder
