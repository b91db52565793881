"""The keyed hash against published numbers, against Python's own integers, and as a source of randomness."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from pipelines import keys
from tests.helpers import ROOT
from tests.helpers.hash_by_hand import MODULUS, absorb, hash_of, to_uniform


def test_word_zero_gives_the_published_outputs_of_splitmix64() -> None:
    # Vigna's splitmix64.c seeded with 1234567: https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    golden = 0x9E3779B97F4A7C15
    states = [np.uint64((1234567 + i * golden) % MODULUS) for i in range(5)]
    assert [int(keys.absorb(state, 0)) for state in states] == published


@pytest.mark.parametrize("words", [[0], [1, 2, 3], [-1], [2**63 - 1, -(2**63)], [7, 0, -5, 10**12, 3]])
def test_hash_equals_python_integers(words: list[int]) -> None:
    state = hash_of(*words)
    assert int(keys.hash_keys(np.array(words))) == state
    expected = [to_uniform(absorb(state, i)) for i in range(5)]
    assert keys.uniforms(np.array(words), 5).tolist() == expected


def test_uniforms_are_uniform_over_counters_and_over_keys() -> None:
    one_stream = keys.uniforms(np.array([3, 1]), 20_000)
    assert one_stream.min() >= 0
    assert one_stream.max() < 1
    assert stats.kstest(one_stream, "uniform").pvalue > 1e-3
    assert stats.kstest(one_stream[:-1] - one_stream[1:], stats.triang(0.5, -1, 2).cdf).pvalue > 1e-3
    for stride in (1, 2**20, 2**32, 2**53):  # keys that differ in a few bits only, high ones too
        first = np.array([keys.uniforms(np.array([0, i * stride]), 1)[0] for i in range(1000)])
        assert stats.kstest(first, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / np.sqrt(1000)


def test_every_bit_of_a_key_flips_half_the_bits_of_the_hash() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(-(2**63), 2**63, 500)
    for bit in range(64):
        flipped = words ^ np.int64(np.uint64(1 << bit).view(np.int64))
        difference = [
            int(keys.hash_keys(np.array([a]))) ^ int(keys.hash_keys(np.array([b])))
            for a, b in zip(words, flipped, strict=True)
        ]
        share = np.mean([d.bit_count() for d in difference]) / 64
        assert 0.48 < share < 0.52, f"bit {bit}"  # 0.5 within 7 standard deviations


def test_order_of_keys_matters() -> None:
    assert keys.hash_keys(np.array([1, 2])) != keys.hash_keys(np.array([2, 1]))
    assert keys.hash_keys(np.array([1])) != keys.hash_keys(np.array([1, 0]))


def test_to_integer_covers_its_range_evenly() -> None:
    hashes = [np.uint64(keys.absorb(np.uint64(5), i)) for i in range(14_000)]
    drawn = np.array([keys.to_integer(state, 7) for state in hashes])
    assert stats.chisquare(np.bincount(drawn, minlength=7)).pvalue > 1e-3
    assert set(drawn) == set(range(7))
    largest = np.uint64(2**64 - 1)
    assert keys.to_integer(largest, 2**31) == 2**31 - 1


def test_to_normal_is_standard_normal() -> None:
    state = np.uint64(keys.hash_keys(np.array([4, 2])))
    drawn = np.array([keys.to_normal(state, index) for index in range(20_000)])
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / np.sqrt(len(drawn))


def test_row_uniforms_are_the_uniforms_of_the_keys_and_the_row() -> None:
    rows = np.array([3, 0, 77])
    found = keys.row_uniforms(np.array([4, 2]), rows, 5)
    assert np.array_equal(found, [keys.uniforms(np.array([4, 2, row]), 5) for row in rows])


def test_stable_id_is_the_same_in_another_process() -> None:
    texts = ["train/cat/0001", "", "Ünïcode/ß"]
    here = [keys.stable_id(text) for text in texts]
    command = f"from pipelines.keys import stable_id; print([stable_id(t) for t in {texts!r}])"
    there = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == str(here)
    assert len(set(here)) == 3
    assert all(-(2**63) <= number < 2**63 for number in here)
