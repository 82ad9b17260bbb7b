"""Losses, gradients and ten optimiser steps of golden_tiny in PyTorch -> tests/data/gradients/golden.safetensors.

The model is golden_tiny's: transformers' Llama, shallow_uvit.py's modules and a plain ViT under the official keys, each first checked against
golden_tiny's own numbers; on top a three-layer head h_phi (repa_head.*, in the file). Every picture to paint and every text is a sequence of its
own here, run one by one; the library packs them into one sequence with shared prompts, which must give the same gradients.

Samples (ids in und.*, text.*, prompt.*; `learned` marks the ids whose prediction counts):
  und    golden_tiny's und.input_ids with picture und.pixels (start tag 153, then 36 patches), and an answer
  text   plain text, everything learned
  prompt.0  two noise levels of picture 0 (teacher pixels und.pixels); prompt.1  picture 1 (pre.1.pixel_values) twice, the second time with the
         prompt dropped: it sees the first token alone, from the same positions
flow.latents [3 or 4, 4, 12, 12] clean latents of each painted picture, flow.noise, flow.times.
L_AR: mean cross entropy of the learned ids. L_RF: mean of (v - (x - z0))^2. L_REPA: - mean cosine of h_phi(states behind layer 1) and SigLIP's features.
ar.grad.<key>: gradients of L_AR; flow.grad.<key>: of L_RF + L_REPA; a key that is missing has none (those of the mixed batch are the sums).
loss.ar, loss.rf, loss.repa; steps [10, 3]: the three losses before each of ten AdamW steps (rate 1e-3, betas 0.9 and 0.95, no decay, clip 1) of all
parameters on the mixed batch, teacher recomputed in each.
"""

import json

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from common import DATA, generator, save
from shallow_uvit import Decoder, Encoder, LlamaRMSNorm

tiny = DATA / "golden_tiny"
config, weights, golden = json.loads((tiny / "config.json").read_text()), load_file(str(tiny / "model.safetensors")), load_file(str(tiny / "golden.safetensors"))
vision, language = config["vision_und_enc_config"]["params"], config["language_config"]


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, width, heads, ratio):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=1e-6), Mlp(width, int(width * ratio))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Tower(nn.Module):
    def __init__(self, width, layers, heads, patch_size, image_size, mlp_ratio, **unused):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch_size, patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, (image_size // patch_size) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        c, width = language["hidden_size"], vision["width"]
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size", "rms_norm_eps", "rope_theta")
        self.language_model = LlamaForCausalLM(LlamaConfig(**{n: language[n] for n in names}, tie_word_embeddings=False, attn_implementation="eager"))
        self.vision_und_enc_model = nn.Module()
        self.vision_und_enc_model.vision_tower = Tower(**vision)
        self.vision_und_enc_aligner = nn.Linear(width, c)
        self.beg_of_und_embed = nn.Parameter(torch.zeros(1, c))
        self.vision_gen_enc_model = Encoder(**config["vision_gen_enc_config"]["params"])
        self.vision_gen_dec_model = Decoder(**config["vision_gen_dec_config"]["params"])
        u = config["vision_gen_enc_config"]["params"]["block_out_channels"][-1]
        self.vision_gen_enc_aligner = nn.Linear(u, c)
        self.vision_gen_dec_aligner_norm = LlamaRMSNorm(c, 1e-6)
        self.vision_gen_dec_aligner = nn.Linear(c, config["vision_gen_dec_config"]["params"]["in_channels"])
        self.repa_head = nn.Module()
        for i, (a, b) in enumerate(((c, 40), (40, 40), (40, width))):
            setattr(self.repa_head, f"linear_{i + 1}", nn.Linear(a, b))

    def head(self, x):
        h = self.repa_head
        return h.linear_3(F.silu(h.linear_2(F.silu(h.linear_1(x)))))

    def states(self, x, positions):
        out = self.language_model.model(inputs_embeds=x, position_ids=torch.tensor(positions)[None], output_hidden_states=True, use_cache=False)
        return out.last_hidden_state, out.hidden_states

    def text_loss(self, ids, learned, pixels=None):
        """Summed cross entropy of the learned ids, and their number."""
        x = self.language_model.model.embed_tokens(ids)[None]
        if pixels is not None:
            at = int((ids == 153).nonzero()[0])
            features = self.vision_und_enc_aligner(self.vision_und_enc_model.vision_tower(pixels))
            x = torch.cat([x[:, :at], self.beg_of_und_embed[None], features, x[:, at + 1 + features.shape[1]:]], 1)
        logits = self.language_model.lm_head(self.states(x, list(range(len(ids))))[0])[0, :-1]
        keep = learned[1:].bool()
        return F.cross_entropy(logits[keep], ids[1:][keep], reduction="sum"), int(keep.sum())

    def velocity(self, ids, z, t, position):
        skip, t_emb = self.vision_gen_enc_model(z, t.reshape(1) * 1000)
        tokens = torch.cat([t_emb[:, None], self.vision_gen_enc_aligner(skip.flatten(2).transpose(1, 2))], 1)
        x = torch.cat([self.language_model.model.embed_tokens(ids)[None], tokens], 1)
        n = tokens.shape[1]
        last, hidden = self.states(x, list(range(len(ids))) + [position + i for i in range(n)])
        h = self.vision_gen_dec_aligner(self.vision_gen_dec_aligner_norm(last[:, -n + 1:]))
        h = h.transpose(1, 2).reshape(1, -1, *skip.shape[2:])
        return self.vision_gen_dec_model(h, skip, t_emb), hidden[1][:, -n + 1:]


model = Model()
g = generator(41)
for name, p in model.repa_head.named_parameters():
    p.copy_(torch.randn(p.shape, generator=g) * (0.1 if p.dim() == 1 else p.shape[1] ** -0.5))
missing, unexpected = model.load_state_dict(weights, strict=False)
assert all(k.startswith("repa_head") for k in missing) and all("attn_pool" in k for k in unexpected), (missing, unexpected)
assert torch.allclose(model.vision_und_enc_model.vision_tower(golden["und.pixels"]), golden["und.tower_out"], atol=1e-4)
v, _ = model.velocity(golden["gen.prompt_ids"][:-1], golden["gen.z"], golden["gen.t"] / 1000, 8)
assert torch.allclose(v[0], golden["gen.v_rows"][0], atol=1e-4)

und_ids = torch.cat([golden["und.input_ids"], torch.tensor([17, 90, 44, 61, 151])])
und_learned = torch.cat([torch.zeros(50), torch.ones(5)]).to(torch.uint8)
text_ids = torch.cat([torch.tensor([150]), torch.randint(0, 150, (11,), generator=g), torch.tensor([151])])
text_learned = torch.ones(13, dtype=torch.uint8)
prompts = [golden["gen.prompt_ids"][:-1], torch.cat([torch.tensor([150]), torch.randint(0, 150, (5,), generator=g)])]
clean = [golden["und.pixels"], golden["pre.1.pixel_values"][None]]
painted = [(0, 0, False), (0, 0, False), (1, 1, False), (1, 1, True)]  # prompt, picture, prompt dropped
x = torch.randn(2, 4, 12, 12, generator=g)
latents = torch.stack([x[p] for _, p, _ in painted])
noise, times = torch.randn(4, 4, 12, 12, generator=g), torch.tensor([0.137, 0.62, 0.905, 0.33])


def losses():
    (a, n), (b, m) = model.text_loss(und_ids, und_learned, golden["und.pixels"]), model.text_loss(text_ids, text_learned)
    ar = (a + b) / (n + m)
    with torch.no_grad():
        teacher = [model.vision_und_enc_model.vision_tower(p) for p in clean]
    rf, repa = [], []
    for i, (prompt, picture, dropped) in enumerate(painted):
        ids = prompts[prompt]
        z = times[i] * latents[i : i + 1] + (1 - times[i]) * noise[i : i + 1]
        v, states = model.velocity(ids[:1] if dropped else ids, z, times[i], len(ids))
        rf.append(((v - (latents[i] - noise[i])) ** 2).mean())
        repa.append(-F.cosine_similarity(model.head(states), teacher[picture], dim=-1).mean())
    return ar, torch.stack(rf).mean(), torch.stack(repa).mean()


torch.set_grad_enabled(True)
for p in model.parameters():
    p.requires_grad_(True)
out = {"und.ids": und_ids, "und.learned": und_learned, "text.ids": text_ids, "text.learned": text_learned, "prompt.0": prompts[0], "prompt.1": prompts[1],
       "flow.latents": latents, "flow.noise": noise, "flow.times": times}
out |= {k: p.detach().clone() for k, p in model.named_parameters() if k.startswith("repa_head")}
for name in ("ar", "flow"):
    model.zero_grad()
    ar, rf, repa = losses()
    (ar if name == "ar" else rf + repa).backward()
    out |= {f"{name}.grad.{k}": p.grad.clone() for k, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
out |= {"loss.ar": ar, "loss.rf": rf, "loss.repa": repa}
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0)
steps = []
for _ in range(10):
    optimizer.zero_grad()
    parts = losses()
    steps.append(torch.stack([p.detach() for p in parts]))
    sum(parts).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
out["steps"] = torch.stack(steps)
print(out["steps"])
save("gradients", "golden", out)
