"""Shared by the make_*.py scripts: where goldens go, how random weights are drawn, how tensors are saved."""

import json
import os
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import torch
from safetensors.torch import save_file

DATA = Path(__file__).resolve().parent.parent / "data"

torch.set_num_threads(1)
torch.set_grad_enabled(False)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def randomise(module, seed, gain=1.0, bf16=True):
    """Draw every parameter so that activations stay of order one and nothing is neutral: no bias is 0, no norm weight is 1.

    Matrices and convolutions: N(0, gain^2 / fan_in). Biases: N(0, 0.1^2). Norm weights: uniform in [0.6, 1.4]. With bf16 the values are
    rounded to bfloat16, so that a BF16 file holds them exactly and the float32 reference is computed from what the file holds.
    """
    g = generator(seed)
    for name, p in module.named_parameters():
        if name.endswith("bias"):
            value = torch.randn(p.shape, generator=g) * 0.1
        elif p.dim() == 1:
            value = 0.6 + 0.8 * torch.rand(p.shape, generator=g)
        else:
            value = torch.randn(p.shape, generator=g) * (gain / p[0].numel() ** 0.5)
        p.copy_(value.to(torch.bfloat16) if bf16 else value)


def save(folder, name, tensors, bf16=False):
    """Write tests/data/<folder>/<name>.safetensors; floats become BF16 where asked (exact after randomise), float32 otherwise."""
    path = DATA / folder / (name + ".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    out = {}
    for key, t in tensors.items():
        t = t.detach()
        if t.is_floating_point():
            assert torch.isfinite(t).all(), key
            if bf16:
                assert torch.equal(t.to(torch.bfloat16).to(t.dtype), t), f"{key} is not exact in bfloat16"
            t = t.to(torch.bfloat16 if bf16 else torch.float32)
        out[key] = t.contiguous().clone()
    save_file(out, str(path))
    path.chmod(0o644)
    print(f"{path.relative_to(DATA.parent.parent)}: {len(out)} tensors, {path.stat().st_size} bytes")


def save_json(folder, name, value):
    path = DATA / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, list):  # one case a line
        path.write_text("[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]\n")
    else:
        path.write_text(json.dumps(value, indent=2) + "\n")
