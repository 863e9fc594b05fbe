"""Plots of samples and of figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from bench.load import Sample

Window = tuple[float, float, str]  # start and end in seconds of the epoch, and its kind


def requests(path: Path, samples: Sequence[Sample], windows: Sequence[Window], title: str) -> None:
    """Draw latency over time: a dot for each request, a band for each deploy."""
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


def setups(path: Path, medians: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Draw redirects and creates per CPU-second, and memory: a bar for each set-up."""
    names = list(medians)[::-1]
    figure, panels = plt.subplots(1, 3, figsize=(14, 5), sharey=True, constrained_layout=True)
    columns = {
        "redirects": "redirects per CPU-second",
        "creates": "creates per CPU-second",
        "memory": "MiB of the web processes (PSS)",
    }
    for axes, (key, label) in zip(panels, columns.items(), strict=True):
        values = [medians[name][key] for name in names]
        colours = ["tab:green" if name == "onebox" else "tab:blue" for name in names]
        axes.bar_label(axes.barh(names, values, color=colours), fmt="%.0f", padding=3)
        axes.set_xlabel(label)
        axes.margins(x=0.15)
    figure.suptitle(title)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def workers(path: Path, medians: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Draw the figures by number of workers: a panel for each."""
    figure, panels = plt.subplots(1, 4, figsize=(15, 4), constrained_layout=True)
    columns = {
        "per CPU-second": ("redirects", "creates"),
        "per second": ("redirects_per_second", "creates_per_second"),
        "p99 in ms": ("redirect_p99", "create_p99"),
        "MiB of the web processes (PSS)": ("memory",),
    }
    for axes, (label, keys) in zip(panels, columns.items(), strict=True):
        for key in keys:
            axes.plot(list(medians), [row[key] for row in medians.values()], "o-", label=key)
        axes.set_title(label)
        axes.set_xlabel("workers")
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def memory(path: Path, samples: Sequence[tuple[float, int, int]]) -> None:
    """Draw the memory of the worker that survives a soak, and of Gunicorn's master."""
    seconds, worker, master = zip(*samples, strict=True)
    minutes = [second / 60 for second in seconds]
    figure, axes = plt.subplots(figsize=(10, 4), constrained_layout=True)
    for label, sizes in (("the oldest worker", worker), ("the master", master)):
        axes.plot(minutes, [size / 1024 for size in sizes], label=label)
    axes.set_xlabel("minutes; each minute the other worker is killed")
    axes.set_ylabel("MiB (PSS)")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _points(samples: Sequence[Sample], start: float) -> tuple[list[float], list[float]]:
    """Return times since the start in seconds, and latencies in milliseconds."""
    return [s.at - start for s in samples], [s.seconds * 1000 for s in samples]
