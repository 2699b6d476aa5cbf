"""One figure of a run: what its exams say round by round on the dev split, and of base and defender on the test split.

Every point stands with its Wilson 95 % interval. Series differ by colour and by marker; a round that the gates rejected
is drawn hollow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tsgb.records.report import ExamReport, Rate
from tsgb.report.results import FinalReport, RunReport
from tsgb.report.style import save

WORK = {
    "benign_utility": ("task done, no attack", "#0072B2", "o"),
    "utility_under_attack": ("task done under attack", "#009E73", "s"),
}
"""Metric → its name, colour and marker, where high is good."""
ATTACKS = {
    "injection_asr": ("injection", "#D55E00", "o"),
    "jailbreak_asr": ("jailbreak", "#CC79A7", "s"),
    "prefill_asr": ("forced beginning", "#555555", "^"),
}
"""The same, where low is good."""
FINAL = (
    ("benign_utility", "task done"),
    ("utility_under_attack", "task done under attack"),
    ("delegated_utility", "delegated task done"),
    ("harmless_utility", "look-alike task done"),
    ("harm_refused", "plain harm refused"),
    ("over_refusal", "look-alike task refused"),
    ("injection_asr", "injection succeeds"),
    ("jailbreak_asr", "jailbreak succeeds"),
    ("prefill_asr", "forced beginning succeeds"),
)
"""Metrics of the final exam from top to bottom; the first five should be high, the others low."""
HIGH_IS_GOOD = 5
BASE_COLOUR, HARDENED_COLOUR = "#E69F00", "#0072B2"


def save_figure(report: RunReport, folder: Path) -> list[Path]:
    """Write `report.png` and `report.svg` into a folder and return their paths."""
    return save(lambda: draw(report), folder, "report")


def draw(report: RunReport) -> Figure:
    """The figure: two panels over rounds, and one of the final exam once there is one."""
    widths = [1.0, 1.0, 1.75] if report.final else [1.0, 1.0]
    figure = Figure(figsize=(4.1 * sum(widths), 4.4), layout="constrained")
    axes = figure.subplots(1, len(widths), width_ratios=widths)
    _over_rounds(axes[0], report, WORK, "Work done (dev): high is good")
    _over_rounds(axes[1], report, ATTACKS, "Attacks that succeed (dev): low is good")
    if report.final:
        _side_by_side(axes[2], report.final)
    seeds = ", ".join(f"{seed}" for seed in report.seeds.values())
    about = f"Run {report.run}, seed {seeds}: Wilson 95 % intervals{_uncounted(report)}"
    figure.suptitle(about, x=0.01, ha="left", fontsize=9, color="#555555")
    return figure


def _uncounted(report: RunReport) -> str:
    """How many dialogues of all exams shown ended in an error."""
    exams = [report.rounds[0].base, *(each.exam for each in report.rounds)]
    exams += [report.final.base, report.final.exam] if report.final else []
    errors = sum(exam.errors for exam in exams)
    return f"; {errors} dialogues that ended in an error count in no rate" if errors else ""


def _over_rounds(axes: Axes, report: RunReport, series: dict[str, tuple[str, str, str]], title: str) -> None:
    exams = [report.rounds[0].base, *(each.exam for each in report.rounds)]
    accepted = [True, *(each.accepted for each in report.rounds)]
    for index, (metric, (name, colour, marker)) in enumerate(series.items()):
        rates = [exam.rates[metric] for exam in exams]
        places = [at + 0.09 * (index - (len(series) - 1) / 2) for at in range(len(rates))]
        label = f"{name} (n = {rates[-1].total})"
        axes.plot(places, _percent(rates), color=colour, linewidth=1.4, alpha=0.55, zorder=2)
        axes.plot([], [], color=colour, marker=marker, linewidth=1.4, label=label)
        for place, rate, whole in zip(places, rates, accepted, strict=True):
            _point(axes, (place, None), rate, colour, marker, hollow=not whole)
    names = ["base", *(f"round {each.round}" + ("" if each.accepted else "\n(rejected)") for each in report.rounds)]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.4, len(names) - 0.6)
    axes.set_ylim(-4, 104)
    axes.set_ylabel("%")
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.7)
    axes.set_title(title)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.14), fontsize=8.5)


def _side_by_side(axes: Axes, final: FinalReport) -> None:
    shown = [(metric, name) for metric, name in FINAL if metric in final.base.rates]
    for row, (metric, _) in enumerate(shown):
        for exam, shift, colour, marker in _candidates(final):
            rate = exam.rates[metric]
            _point(axes, (None, row + shift), rate, colour, marker)
            axes.annotate(
                f"{100 * rate.value:.1f}",
                (1.02, row + shift),
                xycoords=("axes fraction", "data"),
                color=colour,
                fontsize=8.5,
                va="center",
            )
    axes.set_yticks(
        range(len(shown)), [f"{name} (n = {final.exam.rates[metric].total})" for metric, name in shown], fontsize=8.5
    )
    axes.invert_yaxis()
    good = sum(metric in dict(FINAL[:HIGH_IS_GOOD]) for metric, _ in shown)
    axes.axhline(good - 0.5, color="#999999", linewidth=0.8)
    for at, side, words in ((good - 0.55, "bottom", "↑ high is good"), (good - 0.42, "top", "↓ low is good")):
        axes.text(50, at, words, ha="center", va=side, fontsize=8, color="#777777")
    axes.set_xlim(-4, 104)
    axes.set_xlabel("%")
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.7)
    axes.set_title("Final exam (test)" + ("" if final.bundle else ": no round was accepted"))
    for exam, _, colour, marker in _candidates(final):
        axes.plot(
            [], [], color=colour, marker=marker, linewidth=1.4, label=exam.target if exam is final.base else "hardened"
        )
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2, fontsize=8.5)


def _candidates(final: FinalReport) -> Sequence[tuple[ExamReport, float, str, str]]:
    """Each exam with its shift within a row, its colour and its marker."""
    return (final.base, -0.17, BASE_COLOUR, "o"), (final.exam, 0.17, HARDENED_COLOUR, "D")


def _point(
    axes: Axes, place: tuple[float | None, float | None], rate: Rate, colour: str, marker: str, *, hollow: bool = False
) -> None:
    """A rate with its interval, upright at `(x, None)` or lying at `(None, y)`."""
    value = 100 * rate.value
    spread = [[value - 100 * rate.low], [100 * rate.high - value]]
    x, y = place
    axes.errorbar(
        value if x is None else x,
        value if y is None else y,
        xerr=spread if x is None else None,
        yerr=spread if y is None else None,
        color=colour,
        marker=marker,
        markersize=5,
        markerfacecolor="white" if hollow else colour,
        elinewidth=1.3,
        capsize=2.2,
        linestyle="none",
        zorder=3,
        clip_on=False,
    )


def _percent(rates: Sequence[Rate]) -> list[float]:
    return [100 * rate.value for rate in rates]
