"""The table and the figure of `throughput.py`, from its results."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

OURS, PEERS, FLOOR = "#0072B2", "#B3B3B3", "#D55E00"


def as_markdown(result: dict[str, Any]) -> str:
    """One shape: a table, and below it what the floor and the losses are."""
    floor = result["floor_tokens_per_second"]
    lines = [
        f"### Width {result['embed_dim']}",
        "",
        "| contender | tokens/s | lowest to highest | ours is | of the floor | peak memory |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [_row(contender) for contender in result["contenders"]]
    lines += [
        f"| floor | {floor:,.0f} | | | 100% | |",
        f"| baseline: `import torch` | | | | | {result['baseline_memory_mb']:,.0f} MB |",
        "",
    ]
    rates = result["product_rates"]["flops_per_second"]
    best = max(rates, key=lambda name: rates[name])
    lines.append(f"Best product: {best} at {rates[best] / 1e9:,.0f} GFLOP/s.")
    if "copy_bytes_per_second" in result["product_rates"]:
        bandwidth = result["product_rates"]["copy_bytes_per_second"] / 1e9
        lines.append(f"Copies: {bandwidth:,.0f} GB/s; the floor adds AdamW's reads and writes.")
    differences = result["loss_differences_nats"]
    if differences:
        each = ", ".join(f"{kind} {distance:.1e}" for kind, distance in differences.items())
        lines.append(f"Largest difference of the first losses in nats: {each}.")
        idle = max(contender["idle_share"] for contender in result["contenders"])
        lines.append(f"A waiting contender used at most {idle:.2%} of a core.")
    lines += [f"Left out: {name}, {reason}." for name, reason in result["left_out"].items()]
    return "\n".join([*lines, ""])


def _row(contender: dict[str, Any]) -> str:
    low, high = contender["tokens_per_second_spread"]
    ratio = contender["ours_over_this"]
    cells = (
        contender["name"] + (f" ({contender['precision']})" if contender["name"] == "ours" else ""),
        f"{contender['tokens_per_second_median']:,.0f}",
        f"{low:,.0f} to {high:,.0f}",
        "" if ratio is None else f"{ratio:.2f}×",
        f"{contender['share_of_floor']:.0%}",
        f"{contender['peak_memory_mb']:,.0f} MB",
    )
    return f"| {' | '.join(cells)} |"


def figure(results: list[dict[str, Any]]) -> Figure:
    """Bars of tokens a second with their spread, and the floor as a line, one panel a width."""
    rows = [len(result["contenders"]) + 1 for result in results]
    drawn = Figure(figsize=(6.5, 0.6 + 0.3 * sum(rows) + 0.5 * len(rows)), layout="constrained")
    panels = drawn.subplots(len(results), squeeze=False, height_ratios=rows)[:, 0]
    for panel, result in zip(panels, results, strict=True):
        contenders = result["contenders"][::-1]
        medians = [contender["tokens_per_second_median"] for contender in contenders]
        spreads = [contender["tokens_per_second_spread"] for contender in contenders]
        below = [median - low for median, (low, _) in zip(medians, spreads, strict=True)]
        above = [high - median for median, (_, high) in zip(medians, spreads, strict=True)]
        names = [contender["name"] for contender in contenders]
        colours = [OURS if name.startswith("ours") else PEERS for name in names]
        panel.barh(names, medians, color=colours, xerr=[below, above], ecolor="#333333")
        floor = result["floor_tokens_per_second"]
        panel.axvline(floor, color=FLOOR)
        panel.text(
            floor,
            0.02,
            f"floor {floor:,.0f} ",
            color=FLOOR,
            ha="right",
            transform=panel.get_xaxis_transform(),
        )
        panel.set_title(f"width {result['embed_dim']}", loc="left")
        panel.spines[["top", "right"]].set_visible(False)
        panel.xaxis.set_major_formatter("{x:,.0f}")
    panels[-1].set_xlabel("training tokens a second")
    return drawn
