"""Small PNG and JPEG files of every kind, and what Pillow's open(...).convert("RGB") makes of them -> tests/data/pictures/.

decoded.safetensors holds [H, W, 3] uint8 under each file's name. The 16-bit grey file is left to Pillow's "I;16" mode, which it converts to RGB by
clipping in some versions; expected is the upper byte, as for its 16-bit colour files.
"""

import numpy as np
import torch
from PIL import Image

from common import DATA, save

folder = DATA / "pictures"
folder.mkdir(parents=True, exist_ok=True)
y, x = np.mgrid[0:21, 0:19]
rgb = Image.fromarray(np.stack([x * 13, y * 12, x * y * 255 // (18 * 20)], -1).astype(np.uint8))
grey = rgb.convert("L")
alpha = Image.fromarray((x * 14).astype(np.uint8))
rgba = rgb.copy()
rgba.putalpha(alpha)

rgb.save(folder / "rgb.png")
grey.save(folder / "grey.png")
rgb.convert("1").save(folder / "bilevel.png")
rgb.quantize(200).save(folder / "palette.png")
rgb.quantize(5).save(folder / "palette_transparent.png", transparency=2)
rgba.save(folder / "rgba.png")
rgba.convert("LA").save(folder / "grey_alpha.png")
Image.fromarray((x * y * 65535 // (18 * 20)).astype(np.uint16)).save(folder / "grey16.png")
rgb.save(folder / "baseline.jpg", quality=85)
rgb.save(folder / "full_chroma.jpg", quality=85, subsampling=0)
rgb.save(folder / "progressive.jpg", quality=85, progressive=True)
rgb.save(folder / "restart.jpg", quality=85, restart_marker_blocks=2)
grey.save(folder / "grey.jpg", quality=85)
rgb.convert("CMYK").save(folder / "cmyk.jpg", quality=85)

decoded = {}
for path in sorted(folder.glob("*.png")) + sorted(folder.glob("*.jpg")):
    pixels = np.asarray(Image.open(path).convert("RGB")).copy()
    if path.name == "grey16.png":
        pixels = np.repeat((np.asarray(Image.open(path)) >> 8).astype(np.uint8)[..., None], 3, -1)
    decoded[path.name] = torch.from_numpy(pixels)
save("pictures", "decoded", decoded)
