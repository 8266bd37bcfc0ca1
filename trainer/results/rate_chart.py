"""Draws the losses of a learning-rate sweep."""

from __future__ import annotations

import io

import numpy as np

from trainer.results.escaping import plot_style


def rate_chart(
    rates: np.ndarray,
    losses: np.ndarray,
    smoothed: np.ndarray,
    marks: dict[str, float],
) -> bytes:
    """Returns a PNG image of the losses by learning rate.

    Args:
      rates: float64 (n,), drawn on a logarithmic axis.
      losses: float64 (n,), of each step.
      smoothed: float64 (n,).
      marks: rates to mark with vertical lines, by name.
    """
    from matplotlib.figure import Figure

    with plot_style():
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(rates, losses, color="#999999", lw=0.8, label="each step")
        axes.plot(rates, smoothed, color="#0072b2", label="smoothed")
        colours = ("#d55e00", "#009e73")
        for (name, rate), colour in zip(marks.items(), colours, strict=False):
            label = f"{name}: {rate:.2g}"
            axes.axvline(rate, color=colour, linestyle="--", label=label)
        axes.set_xscale("log")
        # The default formatter writes TeX, which is turned off.
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.grid(alpha=0.25)
        axes.legend()
        stream = io.BytesIO()
        # Omits the version of matplotlib, so that equal data give equal files.
        figure.savefig(
            stream, format="png", dpi=120, metadata={"Software": None}
        )
    return stream.getvalue()
