"""A run's report as files: `report.json`, and the figures `report` and `training`, each as PNG and SVG."""

from __future__ import annotations

from pathlib import Path

from tsgb.errors import InputError
from tsgb.report.curves_figure import save_curves
from tsgb.report.figure import save_figure
from tsgb.report.results import RunReport


def write_report(report: RunReport, folder: Path) -> list[Path]:
    """Write all files, replacing those of an earlier report; raises InputError for a folder that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "report.json"
        path.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return [path, *save_figure(report, folder), *save_curves(report, folder)]
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); name another folder with tsgb report --out."
        ) from error
