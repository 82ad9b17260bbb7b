"""ShallowUViT in configurations other than the published one -> tests/data/uvit/{deep,plain}/.

deep: kernel 4 with the default padding (null: kernel_size - stride), 3 and 1 blocks, two up-samplings, a width of the decoder's own.
plain: no biases (in_conv and the response norms keep theirs), no middle block in the encoder. Each folder has config.json (vision_gen_enc_config, vision_gen_dec_config), model.safetensors (BF16, keys
vision_gen_enc_model.*, vision_gen_dec_model.*) and golden.safetensors, layouts [B, C, H, W], B = 2 with two time steps:
  enc.x, enc.t [B] -> enc.y (also the skip), enc.t_emb [B, hidden]; dec.x (with skip = enc.y and t_emb) -> dec.y.

The modules are shallow_uvit.py's, which this script first checks against golden_tiny, the official classes' own numbers.
"""

import json

import torch
from safetensors.torch import load_file

from common import DATA, generator, randomise, save, save_json
from shallow_uvit import Decoder, Encoder

tiny = DATA / "golden_tiny"
config, weights, golden = json.loads((tiny / "config.json").read_text()), load_file(str(tiny / "model.safetensors")), load_file(str(tiny / "golden.safetensors"))
encoder, decoder = Encoder(**config["vision_gen_enc_config"]["params"]), Decoder(**config["vision_gen_dec_config"]["params"])
for module, prefix in ((encoder, "vision_gen_enc_model."), (decoder, "vision_gen_dec_model.")):
    module.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
features, t_emb = encoder(golden["gen.z"], golden["gen.t"].reshape(1))
assert torch.allclose(features, golden["gen.enc.out"], atol=1e-6) and torch.allclose(t_emb[0], golden["gen.t_emb"], atol=1e-6)
velocity = decoder(golden["gen.dec.in"], golden["gen.enc.skip"].expand(2, -1, -1, -1), t_emb.expand(2, -1))
assert torch.allclose(velocity, golden["gen.v_rows"], atol=1e-5)


def make(folder, seed, height, width, enc, dec):
    modules = {"vision_gen_enc": Encoder(**enc), "vision_gen_dec": Decoder(**dec)}
    out, tensors = {}, {}
    for i, (name, module) in enumerate(modules.items()):
        randomise(module, seed + i)
        for key, p in module.named_parameters():
            if key.endswith("channelwise_norm.weight"):  # not a matrix
                p.copy_((torch.randn(p.shape, generator=generator(seed + 3)) * 0.6).to(torch.bfloat16))
        tensors |= {f"{name}_model.{k}": v for k, v in module.state_dict().items()}
    g = generator(seed + 2)
    x, t = torch.randn(2, enc["input_channels"], height, width, generator=g), torch.tensor([333.0, 851.5])
    y, t_emb = modules["vision_gen_enc"](x, t)
    d = torch.randn(2, dec["in_channels"], *y.shape[2:], generator=g)
    out = {"enc.x": x, "enc.t": t, "enc.y": y, "enc.t_emb": t_emb, "dec.x": d, "dec.y": modules["vision_gen_dec"](d, y, t_emb)}
    print({k: (tuple(v.shape), round(float(v.std()), 2)) for k, v in out.items()})
    save(f"uvit/{folder}", "model", tensors, bf16=True)
    save(f"uvit/{folder}", "golden", out)
    save_json(f"uvit/{folder}", "config.json", {f"{n}_config": {"model_type": n, "cls": c, "params": p | {"norm_eps": 1e-6}}
                                                for n, c, p in (("vision_gen_enc", "ShallowUViTEncoder", enc), ("vision_gen_dec", "ShallowUViTDecoder", dec))})


make("deep", 80, 10, 8,
     dict(input_channels=5, stride=2, kernel_size=4, padding=None, block_out_channels=[12], layers_in_middle=3, hidden_size=20, use_bias=True, use_mid_block=True),
     dict(in_channels=16, out_channels=3, block_out_channels=[12], upsamples=2, layers_in_middle=1, hidden_size=20, use_bias=True, use_mid_block=True))
make("plain", 90, 6, 8,
     dict(input_channels=4, stride=2, kernel_size=2, padding=0, block_out_channels=[10], layers_in_middle=2, hidden_size=12, use_bias=False, use_mid_block=False),
     dict(in_channels=14, out_channels=4, block_out_channels=[10], upsamples=1, layers_in_middle=1, hidden_size=12, use_bias=False, use_mid_block=True))
