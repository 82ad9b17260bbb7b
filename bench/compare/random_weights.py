"""Random weights for modules whose speed is measured: made without the layers' own initialisation, which would take minutes."""

import torch
from torch import nn

for layer in (nn.Linear, nn.Conv2d, nn.Embedding):
    layer.reset_parameters = lambda self: None  # filled below, once and fast


def fill(module):
    """Weights of a plausible scale from one repeated block, the same in every module."""
    block = torch.randn(1 << 20, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.dim() == 1:
                p.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            flat, scaled = p.view(-1), (block / p[0].numel() ** 0.5).to(p.dtype)
            for start in range(0, flat.numel(), scaled.numel()):
                part = flat[start : start + scaled.numel()]
                part.copy_(scaled[: part.numel()])
    return module.eval()
