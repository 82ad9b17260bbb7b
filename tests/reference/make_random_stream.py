"""One torch generator asked again and again -> tests/data/random/stream.txt: what a call leaves behind for the next one.

Each line is `seed S`, which starts afresh, or `NAME N` with the N values that the call gave: randn and rand (float32), rand64.
The sizes go to and fro over 16, where torch changes its algorithm, and leave a second normal of a pair waiting.
"""

import torch

from common import DATA

CALLS = [
    (42, "randn 3, randn 2, rand 1, randn 16, randn 1, rand 5, randn 1, randn 33, randn 15, rand64 2, randn 17, randn 2"),
    (2**32 + 9, "rand 2, rand64 1, randn 1, randn 20, randn 1, randn 7, randn 7, randn 40, rand 1"),
    (-3, "randn 1, rand 1, randn 1, rand 1, randn 1, randn 16, randn 16, randn 18, randn 14, rand64 1"),
]
DRAW = {
    "randn": lambda n: torch.randn(n),
    "rand": lambda n: torch.rand(n),
    "rand64": lambda n: torch.rand(n, dtype=torch.float64),
}

lines = []
for seed, calls in CALLS:
    torch.manual_seed(seed)
    lines.append(f"seed {seed % 2**64}")
    for call in calls.split(", "):
        name, n = call.split()
        digits = 17 if name == "rand64" else 9
        lines.append(" ".join([call] + [f"{x:.{digits}g}" for x in DRAW[name](int(n)).tolist()]))
(DATA / "random" / "stream.txt").write_text("\n".join(lines) + "\n")
