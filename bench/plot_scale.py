#!/usr/bin/env python3
"""Draws how cost grows, both axes logarithmic, from the lines that the benches print:
  build/bin/store_scale | bench/plot_scale.py store_scale > docs/store-scale.svg
  (scheduler_bench, load_bench and load_bench startup at several sizes) | bench/plot_scale.py coordinator > docs/coordinator-scale.svg
"""
import json
import math
import sys

# A chart's title, and its lines: of which bench, which key holds the count and which the milliseconds, name and colour.
CHARTS = {
    "store_scale": ("The store\u2019s index: milliseconds by tensors in all checkpoints", [
        ("store_scale", "tensors", "gc_dry_run_ms", "gc --dry-run", "#b5442e"), ("store_scale", "tensors", "open_ms", "open the store", "#2e6db5"),
        ("store_scale", "tensors", "list_ms", "list checkpoints", "#3d8b40"), ("store_scale", "tensors", "commit_ms", "commit one more", "#8a5fb0")]),
    "coordinator": ("The coordinator: milliseconds by jobs", [
        ("coordinator_startup", "finished_jobs", "start_ms", "start, finished jobs", "#b5442e"),
        ("coordinator_load", "queued_jobs", "p99_ms", "p99 of a request, queued", "#2e6db5"),
        ("coordinator_load", "queued_jobs", "decision_ms", "decision, connected", "#3d8b40"),
        ("scheduler", "queued", "median_ms", "decision, alone", "#8a5fb0")]),
}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 70, 170, 40, 50


def median(values):
    return sorted(values)[len(values) // 2]


def points_of(rows, bench, count_key, value_key):
    """(count, median of the runs at it), by count."""
    by_count = {}
    for row in rows:
        if row.get("bench") == bench and value_key in row:
            by_count.setdefault(row[count_key], []).append(row[value_key])
    return sorted((count, median(values)) for count, values in by_count.items())


def draw(title, lines):
    values = [value for *_, points in lines for _, value in points]
    counts = sorted({count for *_, points in lines for count, _ in points})
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(counts[0]), max(math.log10(counts[-1]), math.log10(counts[0]) + 1)

    def x(count):
        return LEFT + (math.log10(count) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(ms):
        return HEIGHT - BOTTOM - (math.log10(ms) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="22" font-size="15">{title}</text>']
    for power in range(low, high + 1):
        label = f"{10 ** power:,}" if power >= 0 else f"{10.0 ** power:g}"
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(10.0 ** power):.1f}" y2="{y(10.0 ** power):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(10.0 ** power) + 4:.1f}" text-anchor="end">{label}</text>')
    for count in counts:
        out.append(f'<line x1="{x(count):.1f}" x2="{x(count):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        out.append(f'<text x="{x(count):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{count:,}</text>')
    for name, color, points in lines:
        places = [(x(count), y(value)) for count, value in points]
        out.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{color}"/>' for a, b in places]
        out.append(f'<text x="{places[-1][0] + 8:.1f}" y="{places[-1][1] + 4:.1f}" fill="{color}">{name}</text>')
    return "\n".join(out + ["</svg>"])


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in CHARTS:
        sys.exit(f"usage: plot_scale.py CHART < LINES; charts: {', '.join(CHARTS)}")
    rows = [json.loads(line) for line in sys.stdin if line.startswith("{")]
    for row in rows:
        if row.get("bench") == "store_scale":
            row["tensors"] = row["checkpoints"] * row["tensors_each"]
    title, wanted = CHARTS[sys.argv[1]]
    lines = [(name, color, points_of(rows, *keys)) for *keys, name, color in wanted]
    lines = [line for line in lines if line[2]]
    if not lines:
        sys.exit(f"plot_scale: no line of {sys.argv[1]} on standard input")
    print(draw(title, lines))
