"""Test pictures that C++ draws again from a seed instead of reading them, and CRC-32 of a result."""

import zlib

import numpy as np


def lcg_picture(seed, width, height):
    """[height, width, 3] uint8, row by row, R G B: state = state * 1664525 + 1013904223 mod 2^32 before each byte, byte = state >> 24."""
    state, out = seed & 0xFFFFFFFF, bytearray(width * height * 3)
    for i in range(len(out)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return np.frombuffer(bytes(out), np.uint8).reshape(height, width, 3)


def crc32(array):
    """CRC-32 (zlib, PNG: polynomial 0xEDB88320) of the array's bytes in C order, little-endian."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
