"""Prints this library's times beside those of others, each measured now and one after the other, as a Markdown table.

Products: PyTorch's F.linear (oneDNN or MKL) beside ours from floats, and torch._int_mm for int8, which is given its inputs quantised
already. The guided step: the official loop (pytorch_step.py). VAE, SigLIP, prefill and decoding: diffusers and transformers in PyTorch;
VAE and SigLIP also in OpenVINO, where it is installed (peer_part.py). Prefill and decoding also in llama.cpp, where the user has its
llama-bench and a model of the same sizes (random_gguf.py makes one). Needs torch, transformers and diffusers
(tests/reference/requirements.txt).

    python bench/compare/table.py build/bench/model [--precision f32,bf16,int8,q4] [--only gemm,picture_step] [--threads 2]
        [--llama-bench llama-bench --gguf int8=q8_0.gguf --gguf q4=q4_0.gguf]
"""

import argparse
import csv
import importlib.util
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from command_line import output_of, positive, require_packages, some_of

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="the program bench/model of this build")
parser.add_argument("--precision", type=some_of("f32", "bf16", "int8", "q4"), default="f32,bf16,int8")
parser.add_argument("--only", default="gemm,picture_step", help="what to measure: parts of bench/model")
parser.add_argument("-t", "--threads", type=positive, default=len(os.sched_getaffinity(0)))
parser.add_argument("--repeat", type=positive, default=3)
parser.add_argument("--llama-bench", default="llama-bench", help="llama.cpp's program")
parser.add_argument("--gguf", action="append", default=[], metavar="PRECISION=FILE", help="llama.cpp's model beside ours in that precision")
args = parser.parse_args()
ggufs = {}
for entry in args.gguf:
    precision, _, file = entry.partition("=")
    if precision not in args.precision:
        parser.error(f"--gguf {entry}: PRECISION=FILE is wanted, with one of --precision {','.join(args.precision)}")
    if not Path(file).is_file():
        parser.error(f"--gguf {entry}: there is no such file")
    ggufs[precision] = file
if ggufs and not shutil.which(args.llama_bench):
    parser.error(f"--llama-bench {args.llama_bench}: there is no such program")
require_packages(parser, "torch")  # the scripts beside this one say what else they need
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch

torch.set_num_threads(args.threads)


def ours(precision):
    """The rows of bench/model's CSV."""
    command = [args.model, "--precision", precision, "--only", args.only, "--threads", str(args.threads), "--repeat", str(args.repeat), "-o", "csv"]
    return list(csv.DictReader(io.StringIO(output_of(parser, command))))


def product(shape, precision):
    """Median seconds of PyTorch's x . wT, [m, k] and [n, k]."""
    m, n, k = (int(extent) for extent in shape.split("x"))
    x, w = torch.randn(m, k), torch.randn(n, k)
    if precision == "int8":
        x, w = ((t * 20).round().clamp(-127, 127).to(torch.int8) for t in (x, w))
        run = lambda: torch._int_mm(x, w.t())
    else:
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
        x, w = x.to(dtype), w.to(dtype)
        run = lambda: torch.nn.functional.linear(x, w)
    seconds = []
    with torch.inference_mode():
        for _ in range(5 * args.repeat + 1):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def script(name, *options):
    """Median seconds that a script beside this one prints; None where it fails, with its last line on stderr."""
    command = [sys.executable, Path(__file__).with_name(name), *options, "--threads", str(args.threads)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode == 0:
        return json.loads(run.stdout.splitlines()[-1])["seconds"]
    print(f"{name} {' '.join(options)}: {(run.stderr.strip() or 'failed').splitlines()[-1]}", file=sys.stderr)
    return None


def depth(row):
    """How many tokens lie before a decoded one: "behind 32 tokens: ..."."""
    return int(row["detail"].split()[1])


def pytorch(row, precision):
    """Median seconds of PyTorch's own; None where it has no such precision."""
    if row["name"] == "gemm":
        shape, _, inputs = row["detail"].partition(" ")
        return product(shape, precision) if precision != "q4" and inputs == "from floats" else None
    if precision not in ("f32", "bf16") or row["detail"].startswith("in strips") or row["name"] == "decode" and depth(row) > 32:
        return None
    if row["name"] == "picture_step":
        return script("pytorch_step.py", "--precision", precision, "--steps", str(args.repeat))
    return script("peer_part.py", "--part", row["name"], "--precision", precision, "--repeat", str(args.repeat)) if row["name"] in PARTS else None


def openvino(row, precision):
    if precision not in ("f32", "bf16") or row["name"] not in ("vae_decode", "siglip") or row["detail"].startswith("in strips"):
        return None
    return script("peer_part.py", "--engine", "openvino", "--part", row["name"], "--precision", precision, "--repeat", str(args.repeat))


def llama_cpp(row, precision):
    """Seconds by llama-bench of the user's model file, whose precision is the user's choice too."""
    if row["name"] not in ("prefill", "decode") or precision not in ggufs:
        return None
    tokens = ["-p", "600", "-n", "0"] if row["name"] == "prefill" else ["-p", "0", "-n", "32", "-d", str(depth(row))]
    command = [args.llama_bench, "-m", ggufs[precision], "-t", str(args.threads), "-r", str(args.repeat), "-o", "json", *tokens]
    result = json.loads(output_of(parser, command))[0]
    return (600 if row["name"] == "prefill" else 1) / result["avg_ts"]


PARTS = ("vae_decode", "siglip", "prefill", "decode")
peers = {f"PyTorch {torch.__version__}": pytorch}
if importlib.util.find_spec("openvino"):
    peers["OpenVINO"] = openvino
if ggufs:
    peers["llama.cpp"] = llama_cpp
print(f"{args.threads} threads; seconds, and how many times ours\n")
print("| part | precision | ours | of peak | " + " | ".join(peers) + " |\n|---|---|---|---|" + "---|" * len(peers))
for precision in args.precision:
    for row in ours(precision):
        seconds, cells = float(row["seconds"]), []
        for peer in peers.values():
            other = peer(row, precision)
            cells.append("" if other is None else f"{other:.4g} ({other / seconds:.2f})")
        of_peak = f"{float(row['of_peak']):.1%}" if row["of_peak"] else ""
        print(f"| {row['name']} {row['detail']} | {precision} | {seconds:.4g} | {of_peak} | {' | '.join(cells)} |", flush=True)
