"""Views to weights to measurements of those weights."""

import os

# torch's CPU threads sleep while they wait for each other instead of spinning: the loader's threads need the
# cores. It must be set before torch is imported; an own setting is left alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
