"""Goldens of the optimiser: torch.optim.AdamW with clip_grad_norm_, the moving average, and Muon's Newton-Schulz iteration.

Writes tests/data/train/optimizer.safetensors: x.<i>.start, x.<i>.gradient.<step>, x.<i>.<case>.<step> (values after the step),
norm.<step>, ema.<i>.<step>; muon.<name>.gradient and muon.<name>.update in float32.
"""

import torch

from common import generator, save

SHAPES = [(1,), (37,), (3, 5), (130, 7)]
STEPS = 6
RATE = 3e-3
CASES = {"plain": dict(weight_decay=0.0, clip=1.0), "decay": dict(weight_decay=0.1, clip=1e9)}


def newton_schulz(g):
    x = g.flatten(1)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


def main():
    g = generator(5)
    start = [torch.randn(s, generator=g) for s in SHAPES]
    # Step 1's gradients are clipped hard, step 3's hardly, and one tensor's are tiny.
    gradients = [[torch.randn(s, generator=g) * [3.0, 0.01, 1.0, 0.03, 1.0, 1.0][k] * (1e-6 if i == 2 else 1) for i, s in enumerate(SHAPES)]
                 for k in range(STEPS)]
    out = {}
    for i, x in enumerate(start):
        out[f"x.{i}.start"] = x
        for k in range(STEPS):
            out[f"x.{i}.gradient.{k}"] = gradients[k][i]
    for case, options in CASES.items():
        x = [torch.nn.Parameter(s.clone()) for s in start]
        ema = [s.clone() for s in start]
        adamw = torch.optim.AdamW(x, lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=options["weight_decay"])
        for k in range(STEPS):
            for p, grad in zip(x, gradients[k]):
                p.grad = grad.clone()
            norm = torch.nn.utils.clip_grad_norm_(x, options["clip"])
            adamw.step()
            for i, p in enumerate(x):
                out[f"x.{i}.{case}.{k}"] = p.detach().clone()
                if case == "plain":
                    ema[i].lerp_(p.detach(), 0.01)
                    out[f"ema.{i}.{k}"] = ema[i].clone()
            out[f"norm.{k}"] = norm.reshape(1)
    for name, shape in {"square": (24, 24), "tall": (40, 9), "wide": (9, 40)}.items():
        grad = torch.randn(shape, generator=g)
        out[f"muon.{name}.gradient"] = grad
        out[f"muon.{name}.update"] = newton_schulz(grad).contiguous()
    save("train", "optimizer", out)


main()
