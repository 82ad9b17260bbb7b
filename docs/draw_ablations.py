"""draw_ablations.py: draws docs/ablations.csv, which examples/emoji/ablations.py wrote, as docs/images/ablations.svg; prints its table."""
import csv
import pathlib

docs = pathlib.Path(__file__).resolve().parent
with open(docs / "ablations.csv", newline="") as file:
    rows = list(csv.DictReader(file))
variants = dict.fromkeys(row["variant"] for row in rows)
titles = {row["variant"]: row["title"] for row in rows}
final = {row["variant"]: row for row in rows}  # the last line of each
colours = dict(zip("ABDEF", ("#ff7f0e", "#d62728", "#2ca02c", "#9467bd", "#1f77b4")))

panels = [("right answers", "answers", 100, "%.0f %%"), ("loss of next tokens", "ar", 1, "%.2f"), ("loss of velocities", "rf", 1, "%.2f")]
width, height, gap, top, bottom = 300, 300, 56, 34, 44
out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * (width + gap) + 24} {height + 30}" font-family="sans-serif" font-size="12">',
       f'<rect width="{3 * (width + gap) + 24}" height="{height + 30}" fill="white"/>']
last_step = max(int(row["step"]) for row in rows)
for panel, (title, column, unit, form) in enumerate(panels):
    left = gap + panel * (width + gap)
    values = [unit * float(row[column]) for row in rows if row[column]]
    low, high = min(values), max(values)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)

    def px(step):
        return left + width * step / last_step

    def py(value):
        return top + (height - top - bottom) * (high - value) / (high - low)

    out.append(f'<text x="{left}" y="20" font-weight="bold">{title}</text>')
    for tick in range(5):
        value = low + (high - low) * tick / 4
        out.append(f'<line x1="{left}" y1="{py(value):.1f}" x2="{left + width}" y2="{py(value):.1f}" stroke="#eeeeee"/>')
        out.append(f'<text x="{left - 6}" y="{py(value) + 4:.1f}" text-anchor="end">{form % value}</text>')
    for step in sorted({int(row["step"]) for row in rows}):
        out.append(f'<text x="{px(step):.1f}" y="{height - bottom + 18}" text-anchor="middle">{step}</text>')
    for name in variants:
        points = [(px(int(row["step"])), py(unit * float(row[column]))) for row in rows if row["variant"] == name and row[column]]
        if not points:
            continue
        out.append(f'<polyline fill="none" stroke="{colours[name]}" stroke-width="1.5" points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>')
        out.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colours[name]}"/>' for x, y in points)
x = gap
for name in variants:
    out.append(f'<circle cx="{x}" cy="{height + 8}" r="4" fill="{colours[name]}"/><text x="{x + 8}" y="{height + 12}">{name}: {titles[name]}</text>')
    x += 190
out.append("</svg>")
(docs / "images" / "ablations.svg").write_text("\n".join(out) + "\n")


def shown(row, column, unit, form):
    return form % (unit * float(row[column])) if row[column] else "-"


print("| | next token | right answers | velocities | alignment | pictures, top 1 | top 5 | held out, top 1 |\n|---|---|---|---|---|---|---|---|")
for name in variants:
    row = final[name]
    cells = [shown(row, "ar", 1, "%.3f"), shown(row, "answers", 100, "%.1f %%"), shown(row, "rf", 1, "%.3f"), shown(row, "repa", -1, "%.3f"),
             shown(row, "top1", 100, "%.1f %%"), shown(row, "top5", 100, "%.1f %%"), shown(row, "heldout_top1", 100, "%.1f %%")]
    print(f"| {name}: {titles[name]} | " + " | ".join(cells) + " |")
