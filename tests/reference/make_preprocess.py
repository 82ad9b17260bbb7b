"""The official preprocessing (VLMImageProcessor) on odd sizes -> tests/data/preprocess/cases.json and small.safetensors.

Steps, as published (deepseek-ai/Janus, janus/janusflow/models/image_processing_vlm.py), checked here against golden_tiny's pre.0 and pre.1:

1. new width = max(int(width / max(width, height) * image_size), min_size), in double and in this order; the height likewise.
2. torchvision's resize of a PIL picture, bicubic = Pillow's own resize. make_resize.py explains the order of its passes, which Pillow 13 changed
   (it matters for pictures more than about twice as high as wide); both results are kept, as in resize/cases.json.
3. expand2square: centred on background_color, offset (side - short) // 2 on the short axis, side = the longer one.
4. float(double(byte) * rescale_factor), then (x - mean) / std in float32; [3, H, W].

The background is int(mean * 255) of each channel (127 for 0.5), not the file's background_color, though the two agree in the published file.
"""

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers.image_transforms import normalize, rescale

from common import DATA, save, save_json
from pictures import crc32, lcg_picture


def preprocess(picture, image_size, horizontal_first=False, min_size=14, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), factor=1 / 255):
    """[H, W, 3] uint8 -> padded picture [S, S, 3] uint8, pixel values [3, S, S] float32."""
    image = Image.fromarray(picture)
    width, height = image.size
    longest = max(width, height)
    size = [max(int(n / longest * image_size), min_size) for n in (width, height)]
    if horizontal_first:
        image = image.resize((size[0], height), Image.Resampling.BICUBIC)
    image = image.resize(size, Image.Resampling.BICUBIC)
    side = max(size)
    square = Image.new("RGB", (side, side), tuple(int(m * 255) for m in mean))
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    padded = np.asarray(square)
    pixels = rescale(padded.transpose(2, 0, 1), factor, input_data_format="channels_first")
    return padded, normalize(pixels, mean, std, input_data_format="channels_first")


golden = load_file(str(DATA / "golden_tiny" / "golden.safetensors"))
for name in ("pre.0", "pre.1"):
    _, pixels = preprocess(golden[f"{name}.image_u8"].numpy(), 96, factor=0.00392156862745098)
    assert pixels.dtype == np.float32 and np.array_equal(pixels, golden[f"{name}.pixel_values"].numpy()), name

CLIP = dict(mean=[0.48145466, 0.4578275, 0.40821073], std=[0.26862954, 0.26130258, 0.27577711])
HALF = dict(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
CASES = [(131, 97, 384, HALF), (40, 30, 384, HALF), (384, 384, 384, HALF), (385, 383, 384, HALF), (500, 3, 384, HALF), (3, 250, 384, HALF), (1, 1, 384, HALF),
         (640, 427, 384, HALF), (333, 500, 384, CLIP), (97, 131, 96, HALF), (101, 7, 96, CLIP), (64, 63, 64, HALF), (37, 23, 32, HALF), (11, 50, 32, CLIP), (150, 700, 96, HALF)]
cases, small = [], {}
for i, (width, height, image_size, norm) in enumerate(CASES):
    seed = 5000 + 11 * i
    picture = lcg_picture(seed, width, height)
    padded, pixels = preprocess(picture, image_size, **norm)
    padded_h, pixels_h = preprocess(picture, image_size, horizontal_first=True, **norm)
    assert padded.shape == (image_size, image_size, 3)
    cases.append(dict(seed=seed, size=[width, height], image_size=image_size, min_size=14, rescale_factor=1 / 255, **norm,
                      background=[int(m * 255) for m in norm["mean"]], padded_crc32=crc32(padded), pixel_values_crc32=crc32(pixels),
                      padded_crc32_horizontal_first=crc32(padded_h), pixel_values_crc32_horizontal_first=crc32(pixels_h)))
    if image_size == 32:
        small[f"{i}.padded"], small[f"{i}.pixel_values"] = torch.from_numpy(padded.copy()), torch.from_numpy(pixels.copy())
# size is [width, height] of pictures.lcg_picture(seed, ...); padded_crc32: bytes of the uint8 square [S, S, 3]; pixel_values_crc32: the
# little-endian float32 bytes of [3, S, S].
save_json("preprocess", "cases.json", cases)
save("preprocess", "small", small)
