"""SigLIP's sigmoid loss, its gradients and four optimiser steps in torch -> tests/data/training/siglip.safetensors.

A picture tower with its attention pool (timm's names under vision_tower.) and a text tower of two blocks (text_tower.), width 16, 2 heads, patches of 4 on 8x8
pictures, 23 tokens, texts of at most 5:
  weight.<key>: the weights, logit_scale log 5 and logit_bias -2 among them
  pixels [4, 3, 8, 8]; ids.<i>: the tokens of each text; labels [4, 4]: 1 on the diagonal and where pair 0 and pair 2 share their picture, else -1
  loss: algorithm 1 of arXiv 2303.15343 (logits cosine * exp(logit_scale) + logit_bias; - sum log sigmoid(label logit) / 4); grad.<key>: its gradients
  steps [4]: the loss before each of four AdamW steps (rate 1e-3, betas 0.9 and 0.95, no decay, clip 1) on the same pairs
A text's vector: tokens + positions, blocks, norm, mean over its own tokens, a linear layer. Texts are padded here, and masked; the library packs them.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from common import generator, randomise, save

WIDTH, HEADS, PATCH, SIZE, VOCABULARY, LENGTH = 16, 2, 4, 8, 23, 5


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


def heads(x):
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, mask):
        q, k, v = (heads(part) for part in self.qkv(x).chunk(3, -1))
        return self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(WIDTH, eps=1e-6), Attention()
        self.norm2, self.mlp = nn.LayerNorm(WIDTH, eps=1e-6), Mlp()

    def forward(self, x, mask=None):
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.q, self.kv, self.proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.mlp = nn.LayerNorm(WIDTH, eps=1e-6), Mlp()

    def forward(self, x):
        k, v = (heads(part) for part in self.kv(x).chunk(2, -1))
        x = self.proj(F.scaled_dot_product_attention(heads(self.q(self.latent.expand(len(x), -1, -1))), k, v).transpose(1, 2).flatten(2))
        return (x + self.mlp(self.norm(x)))[:, 0]


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.pos_embed = nn.Parameter(torch.zeros(1, (SIZE // PATCH) ** 2, WIDTH))
        self.blocks = nn.ModuleList([Block()])
        self.norm, self.attn_pool = nn.LayerNorm(WIDTH, eps=1e-6), Pool()

    def forward(self, x):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.attn_pool(self.norm(x))


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens, self.embed_positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm, self.proj = nn.LayerNorm(WIDTH, eps=1e-6), nn.Linear(WIDTH, WIDTH)

    def forward(self, ids, mask):
        x = self.embed_tokens(ids) + self.embed_positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask[:, None, None])
        return self.proj((self.norm(x) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision_tower, self.text_tower = Tower(), Text()
        self.logit_scale, self.logit_bias = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, pixels, ids, mask, labels):
        pictures, texts = F.normalize(self.vision_tower(pixels), dim=-1), F.normalize(self.text_tower(ids, mask), dim=-1)
        logits = pictures @ texts.T * self.logit_scale.exp() + self.logit_bias
        return -F.logsigmoid(labels * logits).sum() / len(logits)


model = Model()
randomise(model, 80, bf16=False)
model.logit_scale.fill_(math.log(5))
model.logit_bias.fill_(-2)
g = generator(81)
pixels = torch.rand(4, 3, SIZE, SIZE, generator=g) * 2 - 1
pixels[2] = pixels[0]
texts = [torch.randint(0, VOCABULARY, (n,), generator=g) for n in (3, 5, 1, 4)]
ids = nn.utils.rnn.pad_sequence(texts, batch_first=True)
mask = torch.arange(LENGTH)[None] < torch.tensor([len(t) for t in texts])[:, None]
labels = 2 * torch.eye(4) - 1
labels[0, 2] = labels[2, 0] = 1
out = {f"weight.{k}": v.clone() for k, v in model.state_dict().items()}
out |= {"pixels": pixels, "labels": labels} | {f"ids.{i}": t for i, t in enumerate(texts)}

torch.set_grad_enabled(True)
loss = model(pixels, ids, mask, labels)
loss.backward()
out["loss"] = loss
out |= {f"grad.{k}": p.grad.clone() for k, p in model.named_parameters()}
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0)
steps = []
for _ in range(4):
    optimizer.zero_grad()
    loss = model(pixels, ids, mask, labels)
    steps.append(loss.detach())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
out["steps"] = torch.stack(steps)
print(out["steps"])
save("training", "siglip", out)
