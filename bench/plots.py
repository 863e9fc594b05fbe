"""Plots of what a load met."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from bench.load import Sample

Window = tuple[float, float, str]  # start and end in seconds of the epoch, and what it was


def requests(path: Path, samples: Sequence[Sample], windows: Sequence[Window], title: str) -> None:
    """Draw latency over time, a dot a request, with a band for each deploy."""
    start = min(sample.at for sample in samples)
    figure, axes = plt.subplots(figsize=(12, 5), constrained_layout=True)
    for begin, end, kind in windows:
        colour = "tab:red" if kind != "good" else "tab:green"
        axes.axvspan(begin - start, end - start, color=colour, alpha=0.15, linewidth=0)
    for method, colour in (("GET", "tab:blue"), ("POST", "tab:orange")):
        some = [sample for sample in samples if sample.method == method]
        axes.scatter(*_points(some, start), s=2, color=colour, label=method, linewidths=0)
    if failed := [sample for sample in samples if sample.failed]:
        axes.scatter(*_points(failed, start), s=30, marker="x", color="black", label="failed")
    axes.set_yscale("log")
    axes.set_xlabel("seconds (green: a deploy of a good release; red: of a broken one)")
    axes.set_ylabel("milliseconds until the answer was whole")
    axes.set_title(title)
    axes.legend(loc="upper right", markerscale=4)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _points(samples: Sequence[Sample], start: float) -> tuple[list[float], list[float]]:
    """Return times since the start in seconds, and latencies in milliseconds."""
    return [s.at - start for s in samples], [s.seconds * 1000 for s in samples]
