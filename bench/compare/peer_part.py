"""One part of JanusFlow-1.3B's sizes in other people's code on this machine's CPU, on random weights; prints one line of JSON.

The parts are diffusers' AutoencoderKL decoder, transformers' SigLIP tower and Llama body: in PyTorch, or the first two converted to
OpenVINO, which takes the precision as a hint (bf16: where the processor has it). Needs torch, transformers and diffusers (tests/reference/requirements.txt), and
openvino for that engine.

    python bench/compare/peer_part.py --part vae_decode|siglip|prefill|decode [--engine torch|openvino] [--precision bf16|f32] [--threads 2]
"""

import argparse
import json
import os
import resource
import statistics
import time

from command_line import positive, require_packages

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--part", choices=["vae_decode", "siglip", "prefill", "decode"], required=True)
parser.add_argument("--engine", choices=["torch", "openvino"], default="torch")
parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
parser.add_argument("-t", "--threads", type=positive, default=2)
parser.add_argument("--repeat", type=positive, default=3)
args = parser.parse_args()
if args.engine == "openvino" and args.part in ("prefill", "decode"):
    parser.error("OpenVINO's converter does not take transformers' Llama")
require_packages(parser, "torch", "diffusers" if args.part == "vae_decode" else "transformers")
if args.engine == "openvino":
    require_packages(parser, "openvino", install="pip install openvino")
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch

from random_weights import fill

torch.set_num_threads(args.threads)
torch.manual_seed(0)
dtype = torch.bfloat16 if args.precision == "bf16" and args.engine == "torch" else torch.float32


class Part(torch.nn.Module):
    def __init__(self, call, *modules):
        super().__init__()
        self.call, self.modules_ = call, torch.nn.ModuleList(modules)

    def forward(self, x):
        return self.call(x)


torch.set_default_dtype(dtype)
if args.part == "vae_decode":
    from diffusers import AutoencoderKL

    vae = fill(AutoencoderKL(block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=4, norm_num_groups=32,
                             down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4))
    part, x = Part(lambda z: vae.decoder(vae.post_quant_conv(z)), vae.decoder, vae.post_quant_conv), torch.randn(1, 4, 48, 48)
elif args.part == "siglip":
    from transformers import SiglipVisionConfig, SiglipVisionModel

    tower = fill(SiglipVisionModel(SiglipVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                                                      image_size=384, patch_size=16, vision_use_head=False)))
    part, x = Part(lambda p: tower(pixel_values=p).last_hidden_state, tower), torch.randn(1, 3, 384, 384)
else:
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

    LlamaModel._init_weights = LlamaForCausalLM._init_weights = lambda self, module: None
    llama = fill(LlamaForCausalLM(LlamaConfig(vocab_size=102400, hidden_size=2048, intermediate_size=5632, num_hidden_layers=24,
                                              num_attention_heads=16, num_key_value_heads=16, max_position_embeddings=16384)))
    # One decoded token is the body on one position: without earlier ones, as the keys are then few, which is to the peer's advantage.
    if args.part == "prefill":
        part, x = Part(lambda e: llama.model(inputs_embeds=e, use_cache=False).last_hidden_state, llama.model), torch.randn(1, 600, 2048)
    else:
        part, x = Part(lambda e: llama(inputs_embeds=e, use_cache=False).logits, llama), torch.randn(1, 1, 2048)
torch.set_default_dtype(torch.float32)

if args.engine == "openvino":
    import openvino

    name = "OpenVINO " + openvino.__version__.split("-")[0]
    with torch.inference_mode():
        model = openvino.convert_model(part, example_input=x, input=[list(x.shape)])
    hints = {"INFERENCE_PRECISION_HINT": args.precision, "INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    values = x.numpy()
    run = lambda: next(iter(compiled([values]).values()))
else:
    name = "PyTorch " + torch.__version__
    x = x.to(dtype)
    run = lambda: part(x).float().numpy()

seconds = []
with torch.inference_mode():
    for _ in range(args.repeat * (8 if args.part == "decode" else 1) + 1):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
assert (result == result).all()
print(json.dumps({"peer": name, "name": args.part, "precision": args.precision, "threads": args.threads, "seconds": round(statistics.median(seconds[1:]), 4),
                  "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)}))
