"""Which evidence a model's scores rest on: frames of numbers, and the sections of the page that show them."""

from hybrid.reports.report import Basis, ImportanceReport, importance_report

__all__ = ["Basis", "ImportanceReport", "importance_report"]
