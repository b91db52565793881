import pytest

from fastssl.run.verdict import verdict

WELL = {"effective_rank": 9.0, "feature_std": 0.9}


def knn(top1: float | None, untrained: float = 0.2, pixels: float = 0.3) -> dict[str, float | None]:
    return {"knn_top1": top1, "knn_top1_untrained": untrained, "knn_top1_pixels": pixels}


@pytest.mark.parametrize(
    ("top1", "words"),
    [
        (0.5, "kNN top-1 0.500: above the untrained encoder (0.200), above raw pixels (0.300)"),
        (0.25, "kNN top-1 0.250: above the untrained encoder (0.200), BELOW raw pixels (0.300)"),
        (0.21, "kNN top-1 0.210: no better than the untrained encoder (0.200), BELOW raw pixels (0.300)"),
    ],
)
def test_it_compares_with_both_baselines(top1: float, words: str) -> None:
    """Of 2000 queries two standard errors of a difference near 0.25 are 0.027."""
    assert verdict(knn(top1), 2000, WELL) == words


def test_few_queries_tell_little() -> None:
    assert verdict(knn(0.35), 40, WELL).startswith("kNN top-1 0.350: no better than the untrained encoder")


def test_a_collapse_comes_first() -> None:
    words = verdict(knn(0.1), 2000, {"effective_rank": 1.001, "feature_std": 0.002})
    spread = "effective rank 1.001, feature_std 0.002"
    assert words.startswith(f"COLLAPSED, all embeddings are all but one ({spread}); kNN top-1 0.100: BELOW")


def test_a_run_without_labels_is_not_measured() -> None:
    assert "--monitor-data WHERE" in verdict(knn(None), 0, WELL)
