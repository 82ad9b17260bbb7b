"""The training step of bench/training.cpp in PyTorch, float32: the same batches, prompts shared by a block mask, plain modules.

Needs torch, transformers and diffusers (tests/reference/requirements.txt).

    python bench/compare/pytorch_training.py [config.json [threads [repeat]]]
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from command_line import positive, require_packages

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("config", nargs="?", default="examples/models/emoji/config.json")
parser.add_argument("threads", nargs="?", type=positive, default=2)
parser.add_argument("repeat", nargs="?", type=positive, default=5)
args = parser.parse_args()
try:
    config = json.loads(Path(args.config).read_text())
except (OSError, ValueError) as error:
    parser.error(f"cannot read {args.config}: {getattr(error, 'strerror', None) or error}")
require_packages(parser, "torch", "transformers", "diffusers")

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/reference"))
from shallow_uvit import Decoder, Encoder  # noqa: E402

torch.set_num_threads(args.threads)
torch.manual_seed(1)
language, vision = config["language_config"], config["vision_und_enc_config"]["params"]
encoder_config, decoder_config = config["vision_gen_enc_config"]["params"], config["vision_gen_dec_config"]["params"]
C, heads, V = language["hidden_size"], language["num_attention_heads"], language["vocab_size"]
D, patches = vision["width"], (vision["image_size"] // vision["patch_size"]) ** 2
side = vision["image_size"] // 8 // encoder_config["stride"]


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(C))

    def forward(self, x):
        return F.rms_norm(x, (C,), self.weight, 1e-6)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_1, self.norm_2 = Norm(), Norm()
        self.qkv, self.o = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.gate_up, self.down = nn.Linear(C, 2 * language["intermediate_size"], bias=False), nn.Linear(language["intermediate_size"], C, bias=False)

    def forward(self, x, cos, sin, mask):
        b, n, _ = x.shape
        q, k, v = (y.view(b, n, heads, C // heads).transpose(1, 2) for y in self.qkv(self.norm_1(x)).chunk(3, -1))
        half = C // heads // 2

        def rope(y):
            return y * cos + torch.cat([-y[..., half:], y[..., :half]], -1) * sin

        y = F.scaled_dot_product_attention(rope(q), rope(k), v, attn_mask=mask)
        x = x + self.o(y.transpose(1, 2).reshape(b, n, C))
        gate, up = self.gate_up(self.norm_2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head, self.norm = nn.Embedding(V, C), nn.Linear(C, V, bias=False), Norm()
        self.layers = nn.ModuleList(Layer() for _ in range(language["num_hidden_layers"]))
        self.encoder, self.decoder = Encoder(**encoder_config), Decoder(**decoder_config)
        u = encoder_config["block_out_channels"][-1]
        self.und_aligner, self.enc_aligner, self.dec_aligner, self.dec_norm = nn.Linear(D, C), nn.Linear(u, C), nn.Linear(C, u), Norm()
        self.opening = nn.Parameter(torch.randn(1, C))
        self.repa = nn.Sequential(nn.Linear(C, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, D))

    def run(self, x, positions, mask):
        angle = positions[:, None].float() * 10000.0 ** (-torch.arange(0, C // heads, 2).float() / (C // heads))
        angle = torch.cat([angle, angle], -1)
        middle = None
        for i, layer in enumerate(self.layers):
            x = layer(x, angle.cos(), angle.sin(), mask)
            if i == 1:
                middle = x
        return self.norm(x), middle


def shared(prefix, blocks, length):
    """Positions and mask of a prompt and the blocks behind it, each of which sees the prompt and itself."""
    block = torch.cat([torch.full((prefix,), -1), torch.arange(blocks).repeat_interleave(length)])
    n = len(block)
    causal = torch.arange(n)[None] <= torch.arange(n)[:, None]
    mask = causal & ((block[None] == block[:, None]) | (block == -1)[None])
    return torch.cat([torch.arange(prefix), prefix + torch.arange(length).repeat(blocks)]), mask


model = Model()


def generation(prompts=24, levels=4, prefix=16):
    n, tokens = prompts * levels, side * side + 1
    ids, latent = torch.randint(0, V, (prompts, prefix)), side * encoder_config["stride"]
    z, target = torch.randn(n, encoder_config["input_channels"], latent, latent), torch.randn(n, encoder_config["input_channels"], latent, latent)
    times, teacher = torch.arange(n) / n * 1000, torch.randn(n, side * side, D)
    positions, mask = shared(prefix, levels, tokens)

    def loss():
        skip, t_emb = model.encoder(z, times)
        painted = torch.cat([t_emb[:, None], model.enc_aligner(skip.flatten(2).transpose(1, 2))], 1).view(prompts, levels * tokens, C)
        states, middle = model.run(torch.cat([model.embed(ids), painted], 1), positions, mask)
        pick = lambda x: x[:, prefix:].reshape(n, tokens, C)[:, 1:]  # noqa: E731
        h = model.dec_aligner(model.dec_norm(pick(states))).transpose(1, 2).reshape(n, -1, side, side)
        return F.mse_loss(model.decoder(h, skip, t_emb), target) - F.cosine_similarity(model.repa(pick(middle)), teacher, dim=-1).mean()

    return loss, prompts * (prefix + levels * tokens), n


def understanding(pictures=12, questions=5):
    prefix, length = patches + 36, 20
    ids, asked = torch.randint(0, V, (pictures, prefix)), torch.randint(0, V, (pictures * questions, length))
    features, positions, mask = torch.randn(pictures, patches, D), *shared(prefix, questions, length)

    def loss():
        x = model.embed(ids)
        x = torch.cat([x[:, :30], model.opening.expand(pictures, 1, C), model.und_aligner(features), x[:, 31 + patches :]], 1)
        states, _ = model.run(torch.cat([x, model.embed(asked).view(pictures, -1, C)], 1), positions, mask)
        answers = states[:, prefix:].reshape(pictures * questions, length, C)[:, 13:-1]
        return F.cross_entropy(model.head(answers).flatten(0, 1), asked[:, 14:].flatten())

    return loss, pictures * (prefix + questions * length), pictures


for name, (loss, tokens, pictures) in (("generation, 24 prompts, 4 noise levels", generation()), ("understanding, 12 pictures, 5 questions", understanding())):
    best = (1e9, 0.0, 0.0)
    for _ in range(args.repeat):
        model.zero_grad(set_to_none=True)
        a = time.perf_counter()
        value = loss()
        b = time.perf_counter()
        value.backward()
        c = time.perf_counter()
        best = min(best, (c - a, b - a, c - b))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{name}: {tokens} tokens, forward {1e3 * best[1]:.1f} ms, backward {1e3 * best[2]:.1f} ms, together {1e3 * best[0]:.1f} ms, "
          f"{pictures / best[0]:.1f} pictures/s, peak memory {peak:.0f} MB")
