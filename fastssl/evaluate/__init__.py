"""Measurements of an encoder, one file per protocol.

The protocol NAME is a ``Protocol`` in the module NAME of this folder. It is imported when it is asked for, so
that each needs only its own packages.
"""

PROTOCOLS = {  # name: class
    "knn": "Knn",
    "linear": "Linear",
    "logistic": "Logistic",
    "classifier": "Classifier",
    "spread": "Spread",
    "alignment": "Alignment",
    "svm": "Svm",
    "finetune": "Finetune",
    "semisup": "Semisup",
    "longtail": "Longtail",
}
