"""Single operations at awkward sizes -> tests/data/ops/ops.safetensors.

Every case is `name.x`, `.w`, `.b` (inputs), `.y` (output), layouts torch's: pictures [B, C, H, W], convolution weights [O, I, kh, kw],
linear weights [out, in], attention [B, heads, T, D]. Outputs are computed in float64 from the float32 inputs and rounded once, so a
reference's own error is half an ulp; the exceptions (timestep, rope: float32 as the published code does it) are marked below.
"""

import math

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import Timesteps
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from common import generator, save

g = generator(5)
out = {}


def randn(*shape, scale=1.0):
    return (torch.randn(*shape, generator=g) * scale).float()


def case(name, function, **inputs):
    """Store the float32 inputs and function(float64 inputs)."""
    doubles = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    y = function(**doubles)
    assert y.dtype == torch.float64 and y.std() > 0.05, name
    out.update({f"{name}.{k}": v for k, v in inputs.items()})
    out[f"{name}.y"] = y.float()


def conv(name, batch, cin, cout, kernel, height, width, stride=1, padding=0, asymmetric=False, groups=1):
    fan_in = cin // groups * kernel * kernel

    def run(x, w, b):
        if asymmetric:  # diffusers Downsample2D: one column on the right, one row at the bottom
            x = F.pad(x, (0, 1, 0, 1))
        return F.conv2d(x, w, b, stride=stride, padding=padding, groups=groups)

    case(name, run, x=randn(batch, cin, height, width), w=randn(cout, cin // groups, kernel, kernel, scale=fan_in**-0.5), b=randn(cout))


conv("conv1x1", 2, 19, 13, 1, 5, 7)
conv("conv3x3", 2, 11, 21, 3, 9, 7, padding=1)
conv("conv3x3_one_pixel", 1, 5, 3, 3, 1, 1, padding=1)
conv("conv3x3_stride2", 2, 9, 17, 3, 10, 6, stride=2, asymmetric=True)
conv("conv3x3_stride2_odd", 1, 9, 5, 3, 7, 9, stride=2, asymmetric=True)
conv("conv2x2_stride2", 2, 4, 23, 2, 6, 10, stride=2)
conv("conv16x16_stride16", 1, 3, 7, 16, 48, 32, stride=16)
conv("depthwise7x7", 2, 37, 37, 7, 6, 9, padding=3, groups=37)
conv("depthwise7x7_small", 1, 20, 20, 7, 2, 3, padding=3, groups=20)

case("linear", lambda x, w, b: F.linear(x, w, b), x=randn(3, 7, 37), w=randn(53, 37, scale=37**-0.5), b=randn(53))
case("linear_no_bias", lambda x, w: F.linear(x, w), x=randn(1, 129), w=randn(5, 129, scale=129**-0.5))

# Norms: every second row (or picture) is so small that eps (1e-6) decides the answer.
eps = 1e-6
x = randn(2, 24, 5, 7)
x[1] = x[1] * 1e-3 + 5e-4
case("group_norm", lambda x, w, b: F.group_norm(x, 3, w, b, eps), x=x, w=1 + randn(24, scale=0.3), b=randn(24))
x = randn(1, 32, 3, 3) + 4.0
case("group_norm_32", lambda x, w, b: F.group_norm(x, 32, w, b, eps), x=x, w=1 + randn(32, scale=0.3), b=randn(32))
x = randn(2, 5, 37) + 3.0
x[:, 1::2] = (x[:, 1::2] - 3.0) * 1e-3
case("layer_norm", lambda x, w, b: F.layer_norm(x, (37,), w, b, eps), x=x, w=1 + randn(37, scale=0.3), b=randn(37))
x = randn(2, 5, 37)
x[:, 1::2] *= 1e-3
case("rms_norm", lambda x, w: w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)), x=x, w=1 + randn(37, scale=0.3))
norm = LlamaRMSNorm(37, eps=eps)
norm.weight.copy_(out["rms_norm.w"])
assert (norm(x) - out["rms_norm.y"]).abs().max() < 2e-6

# Pointwise, on a range that reaches both tails.
x = torch.cat([torch.linspace(-8, 8, 301), torch.tensor([0.0, -0.0, 1e-8, -1e-8, 20.0, -20.0, 60.0, -60.0, 1e-3, -1e-3])]).float()
case("gelu", lambda x: F.gelu(x), x=x)  # exact (erf), not the tanh approximation
case("silu", lambda x: F.silu(x), x=x)
case("swiglu", lambda x, up: F.silu(x) * up, x=randn(5, 43, scale=3.0), up=randn(5, 43))
x = randn(6, 41, scale=3.0)
x[1] += 1000.0
x[2] *= 30.0
case("softmax", lambda x: F.softmax(x, -1), x=x)


def grn(x, w, b):  # x [B, H, W, C]; w, b [1, 1, 1, C]
    gx = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)  # [B, 1, 1, C]
    nx = gx / (gx.mean(-1, keepdim=True) + 1e-6)
    return b + (w * nx + 1) * x


x = randn(2, 5, 3, 29) * torch.linspace(0.2, 2.0, 29)
x[..., 7] = 0.0
case("grn", grn, x=x, w=randn(1, 1, 1, 29), b=randn(1, 1, 1, 29))  # channels last, as the model calls it
case("modulate", lambda x, scale, shift: x * (1 + scale[:, :, None, None]) + shift[:, :, None, None], x=randn(2, 11, 3, 4),
     scale=randn(2, 11), shift=randn(2, 11))

case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), x=randn(2, 12, 3, 5))
case("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), x=randn(2, 3, 6, 10))
case("nearest_upsample", lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"), x=randn(2, 5, 3, 7))


def attention(name, batch, heads, kv_heads, queries, keys, dim, causal=False, left_pad=None):
    """q [B, H, Tq, D], k and v [B, Hkv, Tk, D]; query i stands at key position Tk - Tq + i. `mask` [B, Tk]: 1 where a key may be read.

    Queries that may read no key at all (left padding) have an undefined answer: their y is 0 here and must not be compared.
    """
    inputs = dict(q=randn(batch, heads, queries, dim, scale=1.5), k=randn(batch, kv_heads, keys, dim, scale=1.5), v=randn(batch, kv_heads, keys, dim))
    allowed = torch.ones(batch, 1, queries, keys, dtype=torch.bool)
    if causal:
        allowed &= torch.arange(keys)[None] <= torch.arange(queries)[:, None] + keys - queries
    if left_pad is not None:
        mask = torch.arange(keys)[None] >= torch.tensor(left_pad)[:, None]
        inputs["mask"] = mask.to(torch.int32)
        allowed &= mask[:, None, None]

    def run(q, k, v, mask=None):
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        plain = (q @ k.transpose(-1, -2) / math.sqrt(dim)).masked_fill(~allowed, -math.inf).softmax(-1).nan_to_num(0.0) @ v
        fused = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        some = allowed.any(-1, keepdim=True).expand_as(plain)
        assert (plain - fused)[some].abs().max() < 1e-12
        return plain

    case(name, run, **inputs)


attention("sdpa_full", 2, 3, 3, 7, 7, 20)
attention("sdpa_cross", 1, 2, 2, 1, 19, 12)
attention("sdpa_causal", 2, 3, 3, 13, 13, 16, causal=True)
attention("sdpa_padded", 3, 2, 2, 6, 9, 10, left_pad=[0, 4, 8])
attention("sdpa_causal_padded", 2, 2, 2, 11, 11, 24, causal=True, left_pad=[0, 5])
attention("sdpa_gqa", 2, 6, 2, 9, 9, 16, causal=True)
attention("sdpa_past", 2, 4, 2, 3, 17, 16, causal=True)
attention("sdpa_past_one", 1, 4, 4, 1, 33, 8, causal=True)
attention("sdpa_past_padded", 2, 6, 3, 4, 41, 16, causal=True, left_pad=[3, 0])

# Rope, float32: transformers' rotate_half (first half with second half, not pairs). x, y [B, H, T, D]; position [B, T].
for name, theta, dim, position in [("rope", 10000.0, 16, [[0, 1, 2, 3, 4, 5, 6], [9, 10, 11, 12, 13, 14, 15]]), ("rope_far", 500000.0, 24, [[577, 578, 3000, 16383]])]:
    position = torch.tensor(position)
    x = randn(position.shape[0], 3, position.shape[1], dim)
    config = LlamaConfig(hidden_size=dim * 3, num_attention_heads=3, rope_theta=theta, max_position_embeddings=16384)
    cos, sin = LlamaRotaryEmbedding(config=config)(x, position)
    y, _ = apply_rotary_pos_emb(x, x, cos, sin)
    out.update({f"{name}.x": x, f"{name}.position": position, f"{name}.theta": torch.tensor(theta), f"{name}.y": y})

# Time steps, float32: diffusers Timesteps(dim, flip_sin_to_cos=True, downscale_freq_shift=0); y [n, dim] = [cos, sin]. Its float32 steps are
# f = exp(-(float)ln(10000) * i / (dim / 2)), then cos(t * f): an ulp of f is worth up to 6e-5 of phase at t = 999.
for dim in (32, 768):
    t = torch.tensor([0.0, 1.0, 100.0 / 3, 437.5, 500.0, 966.6666870117188, 999.0] if dim == 32 else [966.6666870117188])
    out.update({f"timestep_{dim}.x": t, f"timestep_{dim}.y": Timesteps(dim, True, 0)(t)})

save("ops", "ops", out)
