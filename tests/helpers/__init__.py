"""What tests share; imported as ``tests.helpers.NAME``, a name that nothing else bears."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the clone
