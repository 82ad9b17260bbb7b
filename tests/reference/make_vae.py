"""diffusers' AutoencoderKL on random weights -> tests/data/vae/{sdxl,twelve}/.

sdxl: the layout of sdxl-vae with 1/16 of its channels (block_out_channels 8, 16, 32, 32; groups of 4 to 16 channels as there).
twelve: one layer a block, 12 latent channels, channels 4, 8, 8, 16. Each folder is a model directory (config.json, diffusion_pytorch_model.safetensors in BF16,
computed from the rounded weights) and has golden.safetensors, layouts [B, C, H, W], H before W:

  enc.x [1, 3, 8h, 8w] -> enc.mean, enc.logvar [1, latent, h, w] (logvar is cut to [-30, 20]); dec.z [1, latent, h, w] (as the decoder takes it,
      already divided by scaling_factor) -> dec.y [1, 3, 8h, 8w]; h, w: 8, 6 (sdxl), 5, 4 (twelve)
  sdxl only, block by block on half the size: enc2.x, enc2.conv_in, enc2.down.0-3, enc2.mid, enc2.conv_out (before quant_conv), enc2.mean, enc2.logvar;
      dec2.z, dec2.post_quant, dec2.conv_in, dec2.mid, dec2.up.0-3, dec2.y
  sdxl/old_attention.safetensors: the attention tensors alone under their old names (query, key, value, proj_attn); they replace the
      to_q, to_k, to_v, to_out.0 of the file in a checkpoint from before diffusers 0.17.
"""

import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from common import DATA, generator, randomise, save, save_json

OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_name(key):
    for new, old in OLD.items():
        key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return key


def make(folder, seed, height, width, blocks, **sizes):
    config = dict(in_channels=3, out_channels=3, act_fn="silu", sample_size=64, down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, **sizes)
    model = AutoencoderKL(**config).eval()
    randomise(model, seed)
    latent = config["latent_channels"]
    g = generator(seed + 1)
    golden = {}

    def encode(name, rows, columns):
        x = torch.rand(1, 3, rows, columns, generator=g) * 2 - 1
        posterior = model.encode(x).latent_dist
        golden.update({f"{name}.x": x, f"{name}.mean": posterior.mean, f"{name}.logvar": posterior.logvar})
        assert posterior.mean.std() > 0.1 and posterior.logvar.abs().max() < 15

    def decode(name, rows, columns):
        z = torch.randn(1, latent, rows, columns, generator=g)
        y = model.decode(z).sample
        golden.update({f"{name}.z": z, f"{name}.y": y})
        assert y.std() > 0.1

    encode("enc", 8 * height, 8 * width)
    decode("dec", height, width)
    if blocks:
        hooks = []

        def watch(name, module):
            hooks.append(module.register_forward_hook(lambda m, i, o: golden.update({name: o})))

        encoder, decoder = model.encoder, model.decoder
        watch("dec2.post_quant", model.post_quant_conv)
        for prefix, half, stages in (("enc2", encoder, encoder.down_blocks), ("dec2", decoder, decoder.up_blocks)):
            watch(f"{prefix}.conv_in", half.conv_in)
            watch(f"{prefix}.mid", half.mid_block)
            for i, stage in enumerate(stages):
                watch(f"{prefix}.{'down' if prefix == 'enc2' else 'up'}.{i}", stage)
        watch("enc2.conv_out", encoder.conv_out)
        encode("enc2", 32, 24)
        decode("dec2", 4, 3)
        for hook in hooks:
            hook.remove()

    weights = model.state_dict()
    save(f"vae/{folder}", "diffusion_pytorch_model", weights, bf16=True)
    save(f"vae/{folder}", "golden", golden)
    save_json(f"vae/{folder}", "config.json", {"_class_name": "AutoencoderKL", "_diffusers_version": "0.32.2"} | config)
    print({k: round(float(v.std()), 2) for k, v in golden.items()})
    if blocks:
        save(f"vae/{folder}", "old_attention", {old_name(k): v for k, v in weights.items() if old_name(k) != k}, bf16=True)
        with tempfile.TemporaryDirectory() as old:  # diffusers itself reads the old names and decodes the same
            save_file({old_name(k): v.contiguous() for k, v in weights.items()}, str(Path(old) / "diffusion_pytorch_model.safetensors"))
            (Path(old) / "config.json").write_text((DATA / "vae" / folder / "config.json").read_text())
            again = AutoencoderKL.from_pretrained(old, low_cpu_mem_usage=False).eval()
            assert torch.equal(again.decode(golden["dec.z"]).sample, golden["dec.y"])


make("sdxl", 50, 8, 6, True, block_out_channels=[8, 16, 32, 32], layers_per_block=2, norm_num_groups=2, latent_channels=4, scaling_factor=0.13025)
make("twelve", 60, 5, 4, False, block_out_channels=[4, 8, 8, 16], layers_per_block=1, norm_num_groups=2, latent_channels=12, scaling_factor=0.5)
