"""A plain ``pytest`` is green wherever it runs."""

import os
import subprocess
import sys

from tests.helpers import ROOT


def test_without_a_gpu_its_tests_are_skipped_and_slow_ones_are_left_out() -> None:
    files = ("tests/fastssl/test_gpu.py", "tests/fastssl/methods/test_methods_learn.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "torch sees no CUDA device" in done.stdout
    counts = done.stdout.splitlines()[-1]
    assert "skipped" in counts
    assert "deselected" in counts
    assert "passed" not in counts
