"""Writes a llama.cpp model of JanusFlow-1.3B's language body and random weights, for llama-bench to be timed on.

Needs gguf, which llama.cpp's authors publish.

    python bench/compare/random_gguf.py OUTPUT.gguf [--type q8_0|q4_0|f16|bf16|f32]
"""

import argparse

from command_line import require_packages

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("output")
parser.add_argument("--type", choices=["q8_0", "q4_0", "f16", "bf16", "f32"], default="q8_0")
args = parser.parse_args()
require_packages(parser, "gguf", "numpy", install="pip install gguf")
try:
    open(args.output, "ab").close()
except OSError as error:
    parser.error(f"cannot write {args.output}: {error.strerror}")

import gguf
import numpy as np

HIDDEN, INTERMEDIATE, LAYERS, HEADS, VOCABULARY = 2048, 5632, 24, 16, 102400
kind = gguf.GGMLQuantizationType[args.type.upper()]
writer = gguf.GGUFWriter(args.output, "llama")
writer.add_context_length(16384)
writer.add_embedding_length(HIDDEN)
writer.add_feed_forward_length(INTERMEDIATE)
writer.add_block_count(LAYERS)
writer.add_head_count(HEADS)
writer.add_head_count_kv(HEADS)
writer.add_rope_dimension_count(HIDDEN // HEADS)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_vocab_size(VOCABULARY)
writer.add_tokenizer_model("no_vocab")

block = np.random.default_rng(0).standard_normal((512, INTERMEDIATE), dtype=np.float32)


def matrix(name, rows, columns):
    """Rows of one repeated block: drawing a billion numbers would take minutes."""
    part = gguf.quants.quantize(np.ascontiguousarray(block[:, :columns]) / columns**0.5, kind)
    writer.add_tensor(name, np.tile(part, (rows // len(part), 1)), raw_dtype=kind)


def vector(name):
    writer.add_tensor(name, np.ones(HIDDEN, np.float32))


matrix("token_embd.weight", VOCABULARY, HIDDEN)
matrix("output.weight", VOCABULARY, HIDDEN)
vector("output_norm.weight")
for i in range(LAYERS):
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        matrix(f"blk.{i}.{name}.weight", HIDDEN, HIDDEN)
    matrix(f"blk.{i}.ffn_gate.weight", INTERMEDIATE, HIDDEN)
    matrix(f"blk.{i}.ffn_up.weight", INTERMEDIATE, HIDDEN)
    matrix(f"blk.{i}.ffn_down.weight", HIDDEN, INTERMEDIATE)
    vector(f"blk.{i}.attn_norm.weight")
    vector(f"blk.{i}.ffn_norm.weight")
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
