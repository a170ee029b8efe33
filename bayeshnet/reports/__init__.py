"""Results of runs as records, tables, figures and a self-contained page."""

from ..deprecation import moved_names
from ..files import write_bytes, write_text
from .comparison import (
    account_table,
    comparison_curves,
    comparison_figures,
    comparison_page,
    comparison_table,
    comparison_tables,
)
from .figure_data import Bands, FigureData, Planes
from .figures import ReportFigure, run_figures
from .html import report_html, write_report
from .learning import accuracy_matrices, comparison_chart, learning_curves, training_curves
from .maps import regression_bands, uncertainty_maps, weight_images
from .records import DriftRecord, InformationRecord, KLRecord, RunResult, load_results
from .style import png, save_figure
from .table import Cell, Column, Table
from .tables import (
    alarm_table,
    criterion_table,
    drift_table,
    kl_table,
    matrix_table,
    ood_table,
    run_tables,
    summary_table,
    task_table,
)
from .uncertainty import entropy_histograms, reliability_diagram

__all__ = [
    "Bands",
    "Cell",
    "Column",
    "DriftRecord",
    "FigureData",
    "InformationRecord",
    "KLRecord",
    "Planes",
    "ReportFigure",
    "RunResult",
    "Table",
    "account_table",
    "accuracy_matrices",
    "alarm_table",
    "comparison_chart",
    "comparison_curves",
    "comparison_figures",
    "comparison_page",
    "comparison_table",
    "comparison_tables",
    "criterion_table",
    "drift_table",
    "entropy_histograms",
    "kl_table",
    "learning_curves",
    "load_results",
    "matrix_table",
    "ood_table",
    "png",
    "regression_bands",
    "reliability_diagram",
    "report_html",
    "run_figures",
    "run_tables",
    "save_figure",
    "summary_table",
    "task_table",
    "training_curves",
    "uncertainty_maps",
    "weight_images",
    "write_bytes",
    "write_report",
    "write_text",
]

__getattr__ = moved_names(
    __name__,
    {
        "RunArrays": "reports.FigureData",
        "comparison_pictures": "reports.comparison_figures",
        "foreign_table": "reports.ood_table",
    },
)
