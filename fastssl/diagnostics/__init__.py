"""Pictures and figures of trained encoders, one file per diagnostic: python -m fastssl.diagnostics NAME RUN.

The diagnostic NAME is a ``Diagnostic`` in the module NAME of this folder, imported when it is asked for.
"""

DIAGNOSTICS = {  # name: class
    "cka": "Cka",
    "norms": "Norms",
    "gradients": "Gradients",
    "spectrum": "Spectrum",
    "neighbors": "Neighbors",
    "map": "Map",
}
