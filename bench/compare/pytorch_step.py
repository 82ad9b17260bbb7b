"""One guided step of the official JanusFlow-1.3B loop in PyTorch on this machine's CPU, on random weights; prints one line of JSON.

The step is the published one (deepseek-ai/Janus, README, text-to-image): both rows of guidance through the encoder, the language model over
prefix + 577 positions (nothing is kept from step to step), the decoder, one Euler update, all in the given precision. Needs torch,
transformers and diffusers (tests/reference/requirements.txt); 3 GB of memory in bf16, 6 GB in f32.

    python bench/compare/pytorch_step.py [--threads 2] [--precision bf16] [--steps 3] [--prefix 30]
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

from command_line import positive, require_packages

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("-t", "--threads", type=positive, default=2)
parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
parser.add_argument("--steps", type=positive, default=3, help="timed steps, after one that is not timed")
parser.add_argument("--prefix", type=positive, default=30, help="prompt tokens before the time token")
args = parser.parse_args()
require_packages(parser, "torch", "transformers", "diffusers")
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from random_weights import fill

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "reference"))
from shallow_uvit import Decoder, Encoder

torch.set_num_threads(args.threads)
torch.manual_seed(0)
dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[args.precision]
LlamaModel._init_weights = lambda self, module: None

torch.set_default_dtype(dtype)
llama = fill(LlamaModel(LlamaConfig(vocab_size=1000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=24, num_attention_heads=16, num_key_value_heads=16,
                                    max_position_embeddings=16384)))
common = dict(block_out_channels=[768], layers_in_middle=2, hidden_size=2048)
encoder = fill(Encoder(input_channels=4, stride=2, kernel_size=2, padding=0, **common))
decoder = fill(Decoder(in_channels=768, out_channels=4, upsamples=1, **common))
encoder_aligner, decoder_aligner, decoder_norm = fill(nn.Linear(768, 2048)), fill(nn.Linear(2048, 768)), fill(LlamaRMSNorm(2048))
torch.set_default_dtype(torch.float32)

prefix = torch.randn(2, args.prefix, 2048).to(dtype)
mask = torch.ones(2, args.prefix + 577, dtype=torch.int)
mask[1, 1 : args.prefix] = 0
z = torch.randn(1, 4, 48, 48).to(dtype)
dt = torch.zeros_like(z) + 1 / 30


@torch.inference_mode()
def step(z, index, guidance=2.0):
    t = torch.tensor([index / 30 * 1000.0] * 2).to(dtype)
    features, t_emb = encoder(torch.cat([z, z]), t)
    picture = encoder_aligner(features.flatten(2).permute(0, 2, 1))
    embeddings = torch.cat([prefix, t_emb.unsqueeze(1), picture], dim=1)
    hidden = llama(inputs_embeds=embeddings, use_cache=True, attention_mask=mask).last_hidden_state
    hidden = decoder_aligner(decoder_norm(hidden[:, -576:])).reshape(2, 24, 24, 768).permute(0, 3, 1, 2)
    conditional, unconditional = decoder(hidden, features, t_emb).chunk(2)
    return z + dt * (guidance * conditional - (guidance - 1.0) * unconditional)


seconds = []
for i in range(args.steps + 1):
    start = time.perf_counter()
    z = step(z, i)
    seconds.append(time.perf_counter() - start)
assert torch.isfinite(z.float()).all()
timed = seconds[1:]
print(json.dumps({"peer": f"PyTorch {torch.__version__}", "name": "picture_step", "precision": args.precision, "threads": args.threads, "seconds": round(statistics.median(timed), 4),
                  "steps": len(timed), "tokens": 2 * (args.prefix + 577), "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)}))
