import pytest

from fastssl.run.verdict import verdict

WELL = {"effective_rank": 9.0, "feature_std": 0.9}


def knn(top1: float | None, untrained: float = 0.2, pixels: float = 0.3) -> dict[str, float | None]:
    return {"knn_top1": top1, "knn_top1_untrained": untrained, "knn_top1_pixels": pixels}


@pytest.mark.parametrize(
    ("top1", "words"),
    [
        (0.5, "0.500 of 2,000 images: above the untrained encoder (0.200), above raw pixels (0.300)"),
        (0.25, "0.250 of 2,000 images: above the untrained encoder (0.200), BELOW raw pixels (0.300)"),
        (
            0.21,
            "0.210 of 2,000 images: not clearly above the untrained encoder (0.200), "
            "BELOW raw pixels (0.300)",
        ),
    ],
)
def test_it_compares_with_both_baselines(top1: float, words: str) -> None:
    """Of 2000 queries two standard errors of a difference near 0.25 are 0.027."""
    assert verdict(knn(top1), 2000, WELL) == f"kNN top-1 {words}"


def test_few_queries_tell_little() -> None:
    words = "kNN top-1 0.350 of 40 images: not clearly above the untrained encoder (0.200), not clearly above"
    assert verdict(knn(0.35), 40, WELL).startswith(words)
    assert "not clearly below raw pixels (0.300)" in verdict(knn(0.25), 40, WELL)


def test_a_collapse_comes_first() -> None:
    words = verdict(knn(0.1), 2000, {"effective_rank": 1.001, "feature_std": 0.002})
    spread = "effective rank 1.001, feature_std 0.002"
    assert words.startswith(
        f"COLLAPSED, all embeddings are all but one ({spread}); kNN top-1 0.100 of 2,000 images: BELOW"
    )


def test_a_run_without_labels_is_not_measured() -> None:
    assert "--monitor-data WHERE" in verdict(knn(None), 0, WELL)
