"""The keyed hash of ``pipelines.keys`` from its docstrings, in Python's integers of any size."""

from __future__ import annotations

MODULUS = 1 << 64


def absorb(state: int, word: int) -> int:
    z = ((state + 0x9E3779B97F4A7C15) ^ (word * 0xBF58476D1CE4E5B9)) % MODULUS
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % MODULUS
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % MODULUS
    return z ^ (z >> 31)


def hash_of(*words: int, state: int = 0) -> int:
    for word in words:
        state = absorb(state, word)
    return state


def to_uniform(state: int) -> float:
    return (state >> 11) / 2**53
