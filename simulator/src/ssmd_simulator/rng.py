"""Deterministic chance: the same seed and labels always give the same number."""

import zlib

_MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
    """A well-spread 64-bit number from integers (splitmix64 over each part)."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state + part * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def seed_of(seed: int, text: str) -> int:
    """A seed of 32 bits for whatever `text` names, under the universe's seed."""
    return zlib.crc32(text.encode(), seed & 0xFFFFFFFF)
