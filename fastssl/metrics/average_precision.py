"""PASCAL VOC's two measures of average precision; the plain area is scikit-learn's."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import precision_recall_curve


def average_precision_interpolated(positive: np.ndarray, scores: np.ndarray) -> float:
    """Area below the curve of the best precision at each recall or a higher one: VOC's since 2010, VISSL's.

    Args:
        positive: bool [N], at least one of them True.
        scores: float [N]; equal scores are taken together.
    """
    precision, recall, _ = precision_recall_curve(positive, scores)  # recall falls
    best = np.maximum.accumulate(precision[:-1])
    return float(np.sum(-np.diff(recall) * best))


def average_precision_11_points(positive: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the recalls 0, 0.1 ... 1 of the best precision at that recall or a higher one.

    Everingham, Van Gool, Williams, Winn, Zisserman, "The PASCAL visual object classes (VOC) challenge"
    (2010), section 4.2; VOC2007's measure. Arguments as of
    ``average_precision_interpolated``.
    """
    precision, recall, _ = precision_recall_curve(positive, scores)
    precision, recall = precision[:-1], recall[:-1]  # the last is no threshold's
    points = np.arange(11) / 10 - 1e-9  # a recall of 3/10 is one of 0.3
    return float(np.mean([precision[recall >= point].max() for point in points]))
