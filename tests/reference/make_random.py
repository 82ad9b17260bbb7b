"""torch's CPU normal noise for 100 seeds and shapes -> tests/data/random/random.safetensors.

The algorithm of `torch.manual_seed(s); torch.randn(shape)` (float32, CPU), which `replay` below follows and which this script checks:

1. Seed. s is taken mod 2^64 (-1 is 0xffffffffffffffff), and only its low 32 bits seed the standard MT19937 (= std::mt19937).
2. n = number of elements. n >= 16, the blocked path:
   a. every element takes one 32-bit draw r, in order: u = (r mod 2^24) * 2^-24, in [0, 1).
   b. each whole block of 16 becomes normal in place, for j in 0..7: u1 = 1 - u[j] (in (0, 1]), u2 = u[j + 8],
      radius = sqrt(-2 ln u1), theta = 2 pi u2, block[j] = radius cos theta, block[j + 8] = radius sin theta, in float32.
   c. if n is not a multiple of 16, the LAST 16 elements (they overlap the block before) take 16 new draws and step b again.
3. n < 16, the serial path, in double, two elements a pair: a 53-bit uniform takes two 32-bit draws, the first is the high word:
   u = ((hi << 32 | lo) mod 2^53) * 2^-53. First u1, then u2; radius = sqrt(-2 log1p(-u2)), theta = 2 pi u1 (note which is which);
   the elements are radius cos theta, then radius sin theta, each cast to float. The second one is kept in the generator for the next
   call; manual_seed forgets it.

torch's own logarithm, sine and cosine are vectorised approximations where the machine has AVX2: equal only to some ulps, so a replay is
to be compared with an absolute tolerance (1e-5), never bit for bit.
"""

import numpy as np
import torch

from common import save


def replay(seed, shape):
    n = int(np.prod(shape))
    mt = np.random.RandomState(seed & 0xFFFFFFFF)  # the integer seeds MT19937 as std::mt19937 does

    def draws(count):
        return mt.randint(0, 2**32, size=count, dtype=np.uint32)

    if n < 16:
        out = []
        while len(out) < n:
            r = draws(4).astype(object)
            u1, u2 = ((((int(r[i]) << 32) | int(r[i + 1])) % 2**53) * 2.0**-53 for i in (0, 2))
            radius, theta = np.sqrt(-2 * np.log1p(-u2)), 2 * np.pi * u1
            out += [radius * np.cos(theta), radius * np.sin(theta)]
        return np.array(out[:n], np.float32).reshape(shape)

    def uniform(count):
        return (draws(count) & 0xFFFFFF).astype(np.float32) * np.float32(2.0**-24)

    def normal16(block):  # [16] in place
        u1, u2 = np.float32(1) - block[:8], block[8:].copy()
        radius, theta = np.sqrt(np.float32(-2) * np.log(u1)), np.float32(2 * np.pi) * u2
        block[:8], block[8:] = radius * np.cos(theta), radius * np.sin(theta)

    out = uniform(n)
    for i in range(0, n - 15, 16):
        normal16(out[i : i + 16])
    if n % 16:
        out[-16:] = uniform(16)
        normal16(out[-16:])
    return out.reshape(shape)


SEEDS = [0, 1, 42, 2**31, 2**31 - 1, 2**32 - 1, 2**32, 2**40 + 5, 2**53 + 1, 2**63 - 1, -1, -12345]
SEEDS += [7 + 7919 * i for i in range(100 - len(SEEDS))]
SHAPES = [(1, 4, 48, 48), (1, 4, 8, 8), (1, 4, 1, 1), (1, 4, 5, 7), (1, 3, 1, 3), (1, 12, 8, 8), (1, 4, 2, 2), (1, 4, 3, 3), (1, 3, 1, 5), (2, 4, 12, 8), (1, 1, 1, 17),
          (1, 1, 1, 1), (1, 3, 3, 3), (1, 4, 64, 40), (1, 1, 1, 31)]
EDGE = 24

rows = {k: [] for k in ("seed", "shape", "head", "tail", "sum", "weighted_sum")}
worst = 0.0
for i, seed in enumerate(SEEDS):
    shape = SHAPES[0] if i < 3 else SHAPES[i % len(SHAPES)]
    torch.manual_seed(seed)
    y = torch.randn(shape)
    worst = max(worst, float(np.abs(replay(seed, shape) - y.numpy()).max()))
    flat = y.flatten()
    n = min(EDGE, flat.numel())
    head, tail = torch.zeros(EDGE), torch.zeros(EDGE)
    head[:n], tail[EDGE - n :] = flat[:n], flat[-n:]
    rows["seed"].append(torch.tensor(seed))
    rows["shape"].append(torch.tensor(shape))
    rows["head"].append(head)
    rows["tail"].append(tail)
    rows["sum"].append(flat.double().sum())
    rows["weighted_sum"].append((flat.double() * (torch.arange(flat.numel()) % 7 + 1)).sum())
print("largest difference between torch and the replay:", worst)
assert worst <= 2e-6
# head: the first 24 values, zeros after a shorter tensor's end; tail: the last 24, zeros before its beginning.
# weighted_sum: sum of x[i] * (i mod 7 + 1), which a wrong order changes.
save("random", "random", {k: torch.stack(v) for k, v in rows.items()})
