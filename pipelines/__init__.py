"""Bytes on disk to normalised, channels-last views on the device. Knows nothing of models or losses."""

import hashlib
import os
from pathlib import Path

from pipelines.files.cache_folder import code_folder


def _sources_digest() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# Numba's cache watches only the file of the function that is called: a kernel would go on with an old version
# of what it takes from another file. A folder for each version of the sources cannot be out of date.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(code_folder(f"compiled-{_sources_digest()}"))
