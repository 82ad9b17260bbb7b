"""draw_frontier.py: draws docs/frontier.csv, which examples/frontier wrote, as docs/images/frontier.svg."""
import csv
import html
import pathlib

docs = pathlib.Path(__file__).resolve().parent
with open(docs / "frontier.csv", newline="") as file:
    rows = list(csv.DictReader(file))
base = rows[0]
# Settings without an accuracy were only timed: they are in the table alone.
points = [(float(row["seconds"]) / float(base["seconds"]), 100 * float(row["top1"]), row["options"]) for row in rows if row["top1"]]


def kind(options):
    if "reuse" in options:
        return "reuse"
    if "guidance" in options:
        return "guidance at times"
    if "--solver" in options:
        return "second order"
    return "euler"


colours = {"euler": "#666666", "second order": "#1f77b4", "guidance at times": "#2ca02c", "reuse": "#d62728"}
width, height, left, right, top, bottom = 860, 520, 60, 20, 20, 50
low = min(y for _, y, _ in points) - 2
high = max(y for _, y, _ in points) + 3


def px(x):
    return left + (width - left - right) * x / 1.05


def py(y):
    return top + (height - top - bottom) * (high - y) / (high - low)


out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
       f'<rect width="{width}" height="{height}" fill="white"/>']
for tenth in range(0, 11):
    x = px(tenth / 10)
    out.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{height - bottom}" stroke="#eeeeee"/>')
    out.append(f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle">{tenth / 10:g}</text>')
for y in range(int(low // 5 + 1) * 5, int(high) + 1, 5):
    out.append(f'<line x1="{left}" y1="{py(y):.1f}" x2="{width - right}" y2="{py(y):.1f}" stroke="#eeeeee"/>')
    out.append(f'<text x="{left - 8}" y="{py(y) + 4:.1f}" text-anchor="end">{y} %</text>')
# What a setting must reach to count: at least 2.5 times as fast, at most 2 points below.
out.append(f'<rect x="{px(0):.1f}" y="{top}" width="{px(0.4) - px(0):.1f}" height="{py(points[0][1] - 2) - top:.1f}" fill="#f3f7ea"/>')
out.append(f'<text x="{left + 6}" y="{top + 14}" fill="#667744">2.5 times as fast, at most 2 points lost</text>')

best = -1.0
frontier = []
for x, y, options in sorted(points):
    if y > best:
        best = y
        frontier.append((x, y, options))
out.append('<polyline fill="none" stroke="#bbbbbb" points="' + " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y, _ in frontier) + '"/>')
for x, y, options in points:
    out.append(f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="4" fill="{colours[kind(options)]}"><title>{html.escape(options)}</title></circle>')
for x, y, options in frontier + [points[0]]:
    anchor = "end" if x > 0.8 else "start"
    label = html.escape(options.replace("--solver ", "").replace("--", ""))
    out.append(f'<text x="{px(x) + (-8 if anchor == "end" else 8):.1f}" y="{py(y) - 6:.1f}" text-anchor="{anchor}">{label}</text>')
for i, (name, colour) in enumerate(colours.items()):
    y = height - bottom - 70 + 16 * i
    out.append(f'<circle cx="{width - 160}" cy="{y - 4}" r="4" fill="{colour}"/><text x="{width - 148}" y="{y}">{name}</text>')
out.append(f'<text x="{(left + width - right) / 2:.1f}" y="{height - 10}" text-anchor="middle">'
           f'time of a picture; 1 is {1000 * float(base["seconds"]):.0f} ms, that of {html.escape(base["options"])}</text>')
out.append("</svg>")
(docs / "images").mkdir(exist_ok=True)
(docs / "images" / "frontier.svg").write_text("\n".join(out) + "\n")

# The table of docs/text_to_image.md.
print("| settings | rows | time of a picture | top 1 | held out | PSNR |\n|---|---|---|---|---|---|")
for row in rows:
    faster = float(base["seconds"]) / float(row["seconds"])
    top1, held_out = (f"{100 * float(row[key]):.1f} %" if row[key] else "" for key in ("top1", "heldout_top1"))
    print(f"| `{row['options']}` | {float(row['rows']):.0f} | {1000 * float(row['seconds']):.0f} ms, {faster:.1f} x | "
          f"{top1} | {held_out} | {'' if row is base else row['psnr'] + ' dB'} |")
