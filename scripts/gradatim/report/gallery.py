"""All pictures of a report by name."""

from __future__ import annotations

from gradatim.report.model import Report
from gradatim.report.pictures.calibration import draw_calibration
from gradatim.report.pictures.confusion import draw_confusion
from gradatim.report.pictures.history import draw_history
from gradatim.report.pictures.latency import draw_distribution, draw_rounds
from gradatim.report.pictures.robustness import common_extent, draw_curve
from gradatim.report.pictures.sensitivities import draw_sensitivities
from gradatim.report.pictures.slices import draw_slices, weakest_first
from gradatim.report.pictures.training import draw_training, logged
from gradatim.report.pictures.variants import draw_variants

SLICE_PICTURES = 6
CURVES = 24
TRAINING_PICTURES = 8


def draw_all(report: Report) -> dict[str, str]:
    """Name to inline SVG, for what the report has data for; ``svg.standalone`` makes a file of one.

    Names: ``variants``, ``sensitivities``, ``latency-rounds``, ``latency-distribution``, ``history``, ``slices-1``, ..., ``robustness-1``,
    ..., ``confusion``, ``calibration``, ``training-1``, ...
    """
    pictures = {
        "variants": draw_variants(report.variants),
        "sensitivities": draw_sensitivities(report.sensitivities),
    }
    if report.latency:
        pictures["latency-rounds"] = draw_rounds(report.latency)
        pictures["latency-distribution"] = draw_distribution(report.latency.contestants)
    pictures["history"] = draw_history(report.history)
    for index, slices in enumerate(weakest_first(report.slices)[:SLICE_PICTURES], 1):
        pictures[f"slices-{index}"] = draw_slices(slices, f"slices-{index}")
    curves = [curve for curve in report.robustness if curve.points][:CURVES]
    for index, curve in enumerate(curves, 1):
        pictures[f"robustness-{index}"] = draw_curve(curve, f"robustness-{index}", common_extent(curves))
    if report.confusion:
        pictures["confusion"] = draw_confusion(report.confusion)
    if report.calibration:
        pictures["calibration"] = draw_calibration(report.calibration)
    if report.lineage and report.lineage.training:
        found = list(logged(report.lineage.training, report.lineage.training_before))[:TRAINING_PICTURES]
        for index, (metric, mine, theirs) in enumerate(found, 1):
            pictures[f"training-{index}"] = draw_training(metric, mine, theirs, f"training-{index}")
    return {name: drawn for name, drawn in pictures.items() if drawn}
