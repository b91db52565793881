"""pyarrow is asked for where a Parquet file is opened, and nowhere else."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from pipelines.command.errors import UserError
from pipelines.sources import open_source
from tests.helpers import ROOT


def imports(node: ast.AST) -> set[str]:
    """The packages that the statements of a file or function import."""
    found = [each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom)]
    names = [alias.name for each in found if isinstance(each, ast.Import) for alias in each.names]
    names += [each.module or "" for each in found if isinstance(each, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_one_function_of_the_data_path_imports_pyarrow() -> None:
    files = (ROOT / "pipelines").rglob("*.py")
    users = [path for path in files if "pyarrow" in imports(ast.parse(path.read_text()))]
    assert [path.name for path in users] == ["arrow.py"]
    module = ast.parse(users[0].read_text())
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if "pyarrow" in imports(node)] == ["_pyarrow"]
    assert not any("pyarrow" in imports(node) for node in module.body if isinstance(node, ast.Import))


@pytest.mark.usefixtures("own_cache")
def test_without_pyarrow_a_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"Parquet files need pyarrow: pip install -e '\.\[parquet\]'"):
        open_source(str(tmp_path), "train")
