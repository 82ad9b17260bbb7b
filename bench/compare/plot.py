"""Measures what a picture and an answer cost against tokens, size, steps, batch and threads, and draws it: docs/performance.csv, docs/images/performance.svg.

    python bench/compare/plot.py build/bench/model [--precision f32,bf16,int8] [--axes tokens,size] [--draw]

Ten minutes at 1.3b's size. With --axes only those are measured again, and the others are as docs/performance.csv has them; with --draw
nothing is measured.
"""

import argparse
import csv
import io
import math
import os
from pathlib import Path

from command_line import output_of, some_of

root = Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", nargs="?", help="the program bench/model of this build")
parser.add_argument("--precision", type=some_of("f32", "bf16", "int8", "q4"), default="f32,bf16,int8")
parser.add_argument("--axes", type=some_of("tokens", "size", "steps", "batch", "threads"), help="what to vary: all of them unless given")
parser.add_argument("--draw", action="store_true")
args = parser.parse_args()

cores = len(os.sched_getaffinity(0))
# What is varied: bench/model's option, its values, the part that is measured, and what the picture calls it.
AXES = [("tokens", [8, 32, 128, 256, 512], "prefill", "prompt of so many tokens"),
        ("size", [192, 384, 768], "picture_step", "one step of so many pixels a side"),
        ("steps", [1, 2, 4, 8], "picture", "picture of so many steps"),
        ("batch", [1, 2, 4], "picture_step", "one step of so many pictures"),
        ("threads", sorted({1, 2, 4, cores} & set(range(1, cores + 1))), "picture_step", "one step on so many threads")]
COLOURS = {"f32": "#1f77b4", "bf16": "#2ca02c", "int8": "#d62728", "q4": "#9467bd"}


def measure():
    for option, values, part, _ in AXES:
        if args.axes and option not in args.axes:
            continue
        for value in values:
            command = [args.model, "--precision", ",".join(args.precision), "--only", part, "--repeat", "1", f"--{option}", str(value), "-o", "csv"]
            for row in csv.DictReader(io.StringIO(output_of(parser, command))):
                yield {"varied": option, "value": value, "part": part, "precision": row["precision"], "seconds": row["seconds"]}
                print(option, value, row["precision"], row["seconds"], flush=True)


def measured_before():
    """The rows of docs/performance.csv."""
    try:
        with open(root / "docs/performance.csv", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        parser.error(f"cannot read {error.filename}: {error.strerror}")


if not args.draw:
    if not args.model:
        parser.error("name the program bench/model")
    others = [row for row in measured_before() if row["varied"] not in args.axes] if args.axes else []
    rows = list(measure()) + others
    rows.sort(key=lambda row: [option for option, *_ in AXES].index(row["varied"]))
    with open(root / "docs/performance.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
rows = measured_before()

width, height, gap, top, bottom = 230, 230, 50, 34, 40
total = len(AXES) * (width + gap) + 10
out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height + 24}" font-family="sans-serif" font-size="11">',
       f'<rect width="{total}" height="{height + 24}" fill="white"/>']
for panel, (option, _, _, title) in enumerate(AXES):
    points = [(float(row["value"]), float(row["seconds"]), row["precision"]) for row in rows if row["varied"] == option]
    right, left, longest = max(x for x, _, _ in points), gap + panel * (width + gap), max(y for _, y, _ in points)
    power = 10 ** math.floor(math.log10(longest / 4))
    tick = next(m * power for m in (1, 2, 2.5, 5, 10) if 4.9 * m * power >= longest)  # four or five round steps up the axis
    most = max(4 * tick, 1.02 * longest)
    px = lambda x: left + width * x / right  # noqa: E731
    py = lambda y: top + (height - top - bottom) * (1 - y / most)  # noqa: E731
    out.append(f'<text x="{left}" y="20" font-weight="bold">{title}</text>')
    for y in (tick * k for k in range(5)):
        out.append(f'<line x1="{left}" y1="{py(y):.1f}" x2="{left + width}" y2="{py(y):.1f}" stroke="#eeeeee"/>')
        out.append(f'<text x="{left - 5}" y="{py(y) + 4:.1f}" text-anchor="end">{y:g} s</text>')
    named = -math.inf
    for x in sorted({x for x, _, _ in points}):
        if px(x) < named + 22:
            continue  # would run into the one before
        named = px(x)
        out.append(f'<text x="{px(x):.1f}" y="{height - bottom + 16}" text-anchor="middle">{x:g}</text>')
    for precision in dict.fromkeys(p for _, _, p in points):
        line = [(px(x), py(y)) for x, y, p in points if p == precision]
        out.append(f'<polyline fill="none" stroke="{COLOURS[precision]}" stroke-width="1.5" points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in line) + '"/>')
        out.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{COLOURS[precision]}"/>' for x, y in line)
for i, precision in enumerate(dict.fromkeys(row["precision"] for row in rows)):
    out.append(f'<circle cx="{gap + 80 * i}" cy="{height + 8}" r="4" fill="{COLOURS[precision]}"/><text x="{gap + 8 + 80 * i}" y="{height + 12}">{precision}</text>')
out.append("</svg>")
(root / "docs/images/performance.svg").write_text("\n".join(out) + "\n")
