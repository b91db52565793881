import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from fastssl.own_command import prepare_environment
from pipelines.files.kernels import compiled_folder

prepare_environment()  # before torch, as in every command
os.environ["NUMBA_CACHE_DIR"] = str(compiled_folder())  # for commands of tests with caches of their own

import torch  # noqa: E402

settings.register_profile("same", derandomize=True, max_examples=250)  # one commit, one answer
settings.register_profile("random", max_examples=1500)  # --hypothesis-profile random: new ones in each run
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``gpu`` where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="torch sees no CUDA device"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors of tests are small: threads would cost more than they do, the more so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a user who has just begun: listings of other tests' folders are not in it."""
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
