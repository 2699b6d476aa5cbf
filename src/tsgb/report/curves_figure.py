"""One figure of how a run was trained: a panel for each loss, the cosine and the attacker's reward, a line for each
round.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tsgb.report.curves import Columns, RoundCurves
from tsgb.report.results import RunReport
from tsgb.report.style import COLOURS, save

PANELS = (
    ("rerouting", "Rerouting loss", "mean over rerouted tokens"),
    ("retain", "Retain loss", "mean over retained tokens"),
    ("twin", "Twin loss", "mean over continuation tokens"),
    ("cosine", "Cosine with the frozen model", "mean over rerouted tokens"),
    ("reward", "Attacker's reward", "mean over samples"),
)
"""Column → title of its panel, and what is drawn upwards."""


def save_curves(report: RunReport, folder: Path) -> list[Path]:
    """Write `training.png` and `training.svg` into a folder and return their paths; none when there are no curves."""
    return save(lambda: draw_curves(report), folder, "training") if report.curves else []


def draw_curves(report: RunReport) -> Figure:
    """The figure: only panels of which there is something to draw."""
    columns = [{**each.training, **each.attacker} for each in report.curves]
    shown = [panel for panel in PANELS if any(panel[0] in each for each in columns)]
    figure = Figure(figsize=(3.4 * len(shown), 3.2), layout="constrained")
    every = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, title, unit) in zip(every, shown, strict=True):
        _panel(axes, report.curves, columns, name)
        axes.set_title(title)
        axes.set_ylabel(unit)
    every[0].legend(frameon=False, fontsize=8.5)
    figure.suptitle(f"Run {report.run}", x=0.01, ha="left", fontsize=9, color="#555555")
    return figure


def _panel(axes: Axes, curves: Sequence[RoundCurves], columns: Sequence[Columns], name: str) -> None:
    for each, column in zip(curves, columns, strict=True):
        values = column.get(name, ())
        marker = "o" if len(values) < 20 else None
        colour = COLOURS[each.round % len(COLOURS)]
        steps = range(1, len(values) + 1)
        axes.plot(steps, values, color=colour, marker=marker, linewidth=1.1, markersize=4, label=f"round {each.round}")
    axes.set_xlabel("update" if name == "reward" else "step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.7)
