"""Prints this library's times beside PyTorch's, each measured now and one after the other, as a Markdown table.

Products: F.linear (oneDNN or MKL), and torch._int_mm for int8, which is given its inputs quantised already. The guided step: the official
loop (pytorch_step.py). Needs torch, and for the step transformers and diffusers (tests/reference/requirements.txt).

    python bench/compare/table.py build/bench/model [--precision f32,bf16,int8] [--only gemm,picture_step] [--threads 2]
"""

import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", help="the program bench/model of this build")
parser.add_argument("--precision", default="f32,bf16,int8")
parser.add_argument("--only", default="gemm,picture_step", help="what to measure: gemm, picture_step, or any other part of bench/model (ours alone)")
parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
parser.add_argument("--repeat", type=int, default=3)
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch

torch.set_num_threads(args.threads)


def ours(precision):
    """The rows of bench/model's CSV."""
    command = [args.model, "--precision", precision, "--only", args.only, "--threads", str(args.threads), "--repeat", str(args.repeat), "-o", "csv"]
    return list(csv.DictReader(io.StringIO(subprocess.run(command, check=True, capture_output=True, text=True).stdout)))


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


def step(precision):
    """Median seconds of the official loop's guided step; None where PyTorch's own code has no such precision."""
    if precision == "int8":
        return None
    script = Path(__file__).with_name("pytorch_step.py")
    command = [sys.executable, script, "--precision", precision, "--threads", str(args.threads), "--steps", str(args.repeat)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["seconds"]


print(f"PyTorch {torch.__version__}, {args.threads} threads\n")
print("| part | precision | ours, s | of peak | PyTorch, s | PyTorch / ours |\n|---|---|---|---|---|---|")
for precision in args.precision.split(","):
    for row in ours(precision):
        peer = {"gemm": lambda: product(row["detail"], precision), "picture_step": lambda: step(precision)}.get(row["name"], lambda: None)()
        seconds = float(row["seconds"])
        compared = "| |" if peer is None else f"{peer:.4g} | {peer / seconds:.2f} |"
        print(f"| {row['name']} {row['detail']} | {precision} | {seconds:.4g} | {float(row['of_peak']):.1%} | {compared}", flush=True)
