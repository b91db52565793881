"""simplejpeg: libjpeg-turbo's pixels as its defaults give them, with the accurate DCT."""

from __future__ import annotations

import simplejpeg

from benchmarks.contenders import decode_each

OUTPUTS = {"decode": lambda work: decode_each(work, simplejpeg.decode_jpeg)}
