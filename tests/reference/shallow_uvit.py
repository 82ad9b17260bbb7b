"""ShallowUViT in plain PyTorch under the official parameter names; make_uvit.py checks it against the official classes' numbers."""

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

EPS = 1e-6


def channels_last(function, x):  # apply to [B, H, W, C] what arrives as [B, C, H, W]
    return function(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.bias = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x):  # [B, H, W, C]
        gx = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        nx = gx / (gx.mean(dim=-1, keepdim=True) + 1e-6)
        return torch.addcmul(self.bias, self.weight * nx + 1, x)


class ConvNextBlock(nn.Module):
    def __init__(self, channels, hidden_size, bias):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=bias)
        self.norm = LlamaRMSNorm(channels, EPS)
        self.channelwise_linear_1 = nn.Linear(channels, 4 * channels, bias=bias)
        self.channelwise_norm = GlobalResponseNorm(4 * channels)
        self.channelwise_linear_2 = nn.Linear(4 * channels, channels, bias=bias)
        self.cond_embeds_mapper = nn.Linear(hidden_size, 2 * channels, bias=bias)

    def forward(self, x, t_emb):  # [B, C, H, W], [B, D]
        h = F.gelu(self.channelwise_linear_1(self.norm(self.depthwise(x).permute(0, 2, 3, 1))))
        h = self.channelwise_linear_2(self.channelwise_norm(h)).permute(0, 3, 1, 2) + x
        scale, shift = self.cond_embeds_mapper(F.silu(t_emb)).chunk(2, dim=1)
        return torch.addcmul(shift[:, :, None, None], h, (1 + scale)[:, :, None, None])


class MidBlock(nn.Module):
    def __init__(self, channels, layers, hidden_size, bias):
        super().__init__()
        self.res_blocks = nn.ModuleList(ConvNextBlock(channels, hidden_size, bias) for _ in range(layers))

    def forward(self, x, t_emb):
        for block in self.res_blocks:
            x = block(x, t_emb)
        return x


class Encoder(nn.Module):
    def __init__(self, input_channels, stride, kernel_size, padding, block_out_channels, layers_in_middle, hidden_size, use_bias=True, use_mid_block=True, **unused):
        super().__init__()
        channels = block_out_channels[0]
        self.time_proj = Timesteps(channels, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embed = TimestepEmbedding(channels, hidden_size, sample_proj_bias=use_bias)
        self.in_conv = nn.Conv2d(input_channels, channels, kernel_size, stride, kernel_size - stride if padding is None else padding)
        self.mid_block = MidBlock(block_out_channels[-1], layers_in_middle, hidden_size, use_bias) if use_mid_block else None

    def forward(self, x, t):  # [B, C, H, W], [B] -> features (also the skip), t_emb
        t_emb = self.time_embed(self.time_proj(t).to(x.dtype))
        x = self.in_conv(x)
        return (x if self.mid_block is None else self.mid_block(x, t_emb)), t_emb


class Unpatchify(nn.Module):
    def __init__(self, channels, out_channels, bias):
        super().__init__()
        self.norm = LlamaRMSNorm(channels, EPS)
        self.unpatch_conv = nn.Conv2d(channels, 4 * out_channels, 1, bias=bias)

    def forward(self, x):
        return F.pixel_shuffle(self.unpatch_conv(channels_last(self.norm, x)), 2)


class Decoder(nn.Module):
    def __init__(self, in_channels, out_channels, block_out_channels, upsamples, layers_in_middle, hidden_size, use_bias=True, use_mid_block=True, **unused):
        super().__init__()
        block = block_out_channels[-1]
        self.input_norm = LlamaRMSNorm(in_channels, EPS)
        self.mid_block = MidBlock(in_channels + block, layers_in_middle, hidden_size, use_bias) if use_mid_block else None
        widths = [in_channels + block] + [block] * (upsamples - 1) + [out_channels]
        self.out_convs = nn.ModuleList(Unpatchify(a, b, use_bias) for a, b in zip(widths, widths[1:]))

    def forward(self, x, skip, t_emb):
        x = torch.cat([channels_last(self.input_norm, x), skip], dim=1)
        if self.mid_block is not None:
            x = self.mid_block(x, t_emb)
        for out_conv in self.out_convs:
            x = out_conv(x)
        return x
