"""Losses, gradients and four optimiser steps of a tiny AutoencoderKL in diffusers -> tests/data/training/autoencoder/.

The folder is a model directory (config.json, diffusion_pytorch_model.safetensors in BF16, computed from the rounded weights) with golden.safetensors:
  pictures [2, 3, 16, 16] in [-1, 1], noise [2, latent, 4, 4]; z = mean + exp(logvar / 2) noise is decoded
  loss.l1, loss.l2, loss.multi_scale (L1 of the pictures pooled to 1/2 and to 1/4, added), loss.kl (mean over all latents)
  grad.<key>: gradients of l1 + 0.5 l2 + 0.5 multi_scale + 0.02 kl
  steps [4, 4]: the four losses before each of four AdamW steps (rate 1e-3, betas 0.9 and 0.95, no decay, clip 1) on the same pictures and noise
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from common import generator, randomise, save, save_json

config = dict(in_channels=3, out_channels=3, act_fn="silu", sample_size=16, down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3,
              block_out_channels=[4, 8, 8], layers_per_block=1, norm_num_groups=2, latent_channels=3, scaling_factor=1.0)
model = AutoencoderKL(**config)
randomise(model, 70)
save("training/autoencoder", "diffusion_pytorch_model", model.state_dict(), bf16=True)
save_json("training/autoencoder", "config.json", {"_class_name": "AutoencoderKL", "_diffusers_version": "0.32.2"} | config)
g = generator(71)
pictures = torch.rand(2, 3, 16, 16, generator=g) * 2 - 1
noise = torch.randn(2, 3, 4, 4, generator=g)


def losses():
    latents = model.encode(pictures).latent_dist
    y = model.decode(latents.mean + latents.std * noise).sample
    multi_scale = sum(F.l1_loss(F.avg_pool2d(y, s), F.avg_pool2d(pictures, s)) for s in (2, 4))
    kl = 0.5 * (latents.mean**2 + latents.var - 1 - latents.logvar).mean()
    return F.l1_loss(y, pictures), F.mse_loss(y, pictures), multi_scale, kl


def total(parts):
    return sum(weight * part for weight, part in zip((1, 0.5, 0.5, 0.02), parts))


torch.set_grad_enabled(True)
parts = losses()
total(parts).backward()
out = {"pictures": pictures, "noise": noise} | {f"loss.{name}": part for name, part in zip(("l1", "l2", "multi_scale", "kl"), parts)}
out |= {f"grad.{k}": p.grad.clone() for k, p in model.named_parameters()}
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0)
steps = []
for _ in range(4):
    optimizer.zero_grad()
    parts = losses()
    steps.append(torch.stack([p.detach() for p in parts]))
    total(parts).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
out["steps"] = torch.stack(steps)
print(out["steps"])
save("training/autoencoder", "golden", out)
