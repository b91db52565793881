from pathlib import Path

import pytest

from tests.helpers.report_folders import write_whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole(tmp_path_factory.mktemp("report") / "sweep")
