#!/usr/bin/env python3
"""Draws what store_scale printed: build/bin/store_scale | bench/plot_scale.py > docs/store-scale.svg. Both axes are logarithmic."""
import json
import math
import sys

LINES = [("gc_dry_run_ms", "gc --dry-run", "#b5442e"), ("open_ms", "open the store", "#2e6db5"),
         ("list_ms", "list checkpoints", "#3d8b40"), ("commit_ms", "commit one more", "#8a5fb0")]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 70, 130, 40, 50


def draw(rows):
    tensors = [row["checkpoints"] * row["tensors_each"] for row in rows]
    values = [row[key] for row in rows for key, _, _ in LINES]
    low, high = [math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))]
    first, last = math.log10(tensors[0]), max(math.log10(tensors[-1]), math.log10(tensors[0]) + 1)

    def x(count):
        return LEFT + (math.log10(count) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(ms):
        return HEIGHT - BOTTOM - (math.log10(ms) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="22" font-size="15">The store&#8217;s index: milliseconds by tensors in all checkpoints ({rows[0]["tensors_each"]:,} each)</text>']
    for power in range(low, high + 1):
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(10 ** power):.1f}" y2="{y(10 ** power):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(10 ** power) + 4:.1f}" text-anchor="end">{10 ** power:,}</text>')
    for count in tensors:
        out.append(f'<line x1="{x(count):.1f}" x2="{x(count):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        out.append(f'<text x="{x(count):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{count:,}</text>')
    for key, name, color in LINES:
        points = [(x(count), y(row[key])) for count, row in zip(tensors, rows)]
        out.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{color}"/>' for a, b in points]
        out.append(f'<text x="{points[-1][0] + 8:.1f}" y="{points[-1][1] + 4:.1f}" fill="{color}">{name}</text>')
    return "\n".join(out + ["</svg>"])


if __name__ == "__main__":
    rows = [json.loads(line) for line in sys.stdin if line.startswith("{")]
    rows = [row for row in rows if row.get("bench") == "store_scale"]
    if not rows:
        sys.exit("plot_scale: no line of store_scale on standard input")
    print(draw(rows))
