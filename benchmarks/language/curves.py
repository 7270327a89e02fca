"""What models of one table learnt on the way, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.language.contenders import CONTENDERS
from benchmarks.language.records import Record

__all__ = ["draw_curves"]


def draw_curves(models: list[list[Record]], file: Path) -> None:
    """Bits per byte of validation by tokens read, the mean over seeds and how far they lie apart.

    Parameters
    ----------
    models : list of list of dict
        Runs of each contender, all of one length, that came to an end.
    file : Path
        The picture, a PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for runs in models:
        name = runs[0]["name"]
        # The same colour for a model in each picture.
        colour = f"C{list(CONTENDERS).index(name)}"
        curves = np.array([run["curve"] for run in runs])  # (seeds, places, 2)
        tokens, bits = curves[0, :, 0] / 1e6, curves[..., 1]
        label = f"{name}, {runs[0]['depth']} blocks, {len(runs)} seed{'s' * (len(runs) > 1)}"
        axes.plot(tokens, bits.mean(0), color=colour, label=label)
        axes.fill_between(tokens, bits.min(0), bits.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel("million tokens read")
    axes.set_ylabel("bits per byte of validation")
    # The first places are far above all that tells models apart.
    lowest = min(min(bits for _, bits in run["curve"]) for runs in models for run in runs)
    axes.set_ylim(lowest - 0.03, lowest + 1.0)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    # No date and no version, so that the same runs give the same file.
    figure.savefig(file, metadata={"Software": None})
