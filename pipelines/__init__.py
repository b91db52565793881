"""Bytes on disk to normalized, channels-last views on the device. Knows nothing of models or losses."""

import os
from pathlib import Path

from pipelines.files.cache_folder import code_folder
from pipelines.files.kernel_cache import kernels_digest

# Set here and not by the commands' ``main``: numba reads it as it is loaded, for kernels as they are defined.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(code_folder(f"compiled-{kernels_digest(Path(__file__).parent)}"))
