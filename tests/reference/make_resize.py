"""Pillow's bicubic resize on 100 sizes -> tests/data/resize/cases.json and small.safetensors.

The algorithm (Pillow's Resample.c for 8-bit RGB), which `replay` follows and which this script checks bit for bit:

- One axis, all in double: scale = in / out, filter_scale = max(scale, 1), support = 2 * filter_scale. For output pixel x: center =
  (x + 0.5) * scale, first = max(0, int(center - support + 0.5)), last = min(in, int(center + support + 0.5)) (int cuts off), weights
  w[i] = bicubic((i + first - center + 0.5) * (1 / filter_scale)) with a = -0.5, divided by their sum.
- Weights become integers of 22 fraction bits, rounded half away from zero: int(w * 2^22 + 0.5), int(w * 2^22 - 0.5) where w < 0.
- A pixel is (2^21 + sum of weight * byte) >> 22 (arithmetic shift), cut to 0..255.
- Two passes with bytes between them; an axis whose size does not change has no pass. The order changed with Pillow 13.0.0, which runs the
  vertical pass first where that is cheaper, `height_in - height_out > max(0, 2 * (width_in - width_out))`; every Pillow before ran the
  horizontal one first (12.2 apart, for pictures over 100 times as high as wide). The two differ by rounding and by clipping, so each
  case has both results: crc32 (Pillow 13's order) and crc32_horizontal_first.
"""

import numpy as np
import torch
from PIL import Image

from common import save, save_json
from pictures import crc32, lcg_picture


def bicubic(x):
    a, x = -0.5, abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def resize_rows(picture, out):  # along axis 0: [n, m, 3] -> [out, m, 3]
    n = picture.shape[0]
    if n == out:
        return picture
    scale = n / out
    filter_scale = max(scale, 1.0)
    support, inverse = 2.0 * filter_scale, 1.0 / filter_scale
    result = np.empty((out,) + picture.shape[1:], np.uint8)
    for x in range(out):
        center = (x + 0.5) * scale
        first, last = max(0, int(center - support + 0.5)), min(n, int(center + support + 0.5))
        weights = [bicubic((i + first - center + 0.5) * inverse) for i in range(last - first)]
        total = 0.0
        for w in weights:
            total += w
        fixed = [int(w / total * (1 << 22) + (-0.5 if w / total < 0 else 0.5)) for w in weights]
        sums = np.tensordot(np.array(fixed, np.int64), picture[first:last].astype(np.int64), 1) + (1 << 21)
        result[x] = np.clip(sums >> 22, 0, 255)
    return result


def resize_columns(picture, out):
    return resize_rows(picture.transpose(1, 0, 2), out).transpose(1, 0, 2)


def vertical_first(size, out):
    return size[1] - out[1] > max(0, 2 * (size[0] - out[0]))


def replay(picture, width, height):
    if vertical_first(picture.shape[1::-1], (width, height)):
        return resize_columns(resize_rows(picture, height), width)
    return resize_rows(resize_columns(picture, width), height)


def pillow(picture, *sizes):
    image = Image.fromarray(picture)
    for size in sizes:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


rng = np.random.RandomState(7)
sizes = [((1, 1), (1, 1)), ((1, 1), (9, 4)), ((17, 13), (1, 1)), ((1, 40), (14, 96)), ((40, 1), (96, 14)), ((5, 1), (3, 2)), ((64, 64), (64, 64)), ((64, 48), (64, 31)),
         ((64, 48), (33, 48)), ((2, 2), (200, 3)), ((301, 7), (4, 150)), ((131, 97), (96, 71)), ((256, 256), (384, 384)), ((384, 1), (1, 384)), ((100, 100), (50, 50)),
         ((50, 50), (100, 100)), ((99, 101), (100, 100)), ((19, 37), (23, 11))]
while len(sizes) < 100:
    top = [200, 60, 20][len(sizes) % 3]
    sizes.append((tuple(int(v) for v in rng.randint(1, top, 2)), tuple(int(v) for v in rng.randint(1, 160, 2))))

SMALL = (1, 5, 17)
cases, small = [], {}
for i, (size, out) in enumerate(sizes):
    seed = 1000 + 37 * i
    picture = lcg_picture(seed, *size)
    resized = pillow(picture, out)
    horizontal_first = pillow(picture, (out[0], size[1]), out)
    assert np.array_equal(resized, replay(picture, *out)), (size, out)
    assert np.array_equal(horizontal_first, resize_rows(resize_columns(picture, out[0]), out[1])), (size, out)
    assert vertical_first(size, out) or np.array_equal(resized, horizontal_first)
    cases.append(dict(seed=seed, size=list(size), out=list(out), vertical_first=vertical_first(size, out), crc32=crc32(resized),
                      crc32_horizontal_first=crc32(horizontal_first)))
    if i in SMALL:
        small[f"{i}.x"], small[f"{i}.y"] = torch.from_numpy(picture.copy()), torch.from_numpy(resized.copy())
        small[f"{i}.y_horizontal_first"] = torch.from_numpy(horizontal_first.copy())
print(sum(c["vertical_first"] for c in cases), "cases have the vertical pass first")
# sizes are [width, height]; the input picture is pictures.lcg_picture(seed, width, height).
save_json("resize", "cases.json", cases)
save("resize", "small", small)  # N.x, N.y, N.y_horizontal_first: case N in full, uint8 [height, width, 3]
