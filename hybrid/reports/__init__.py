"""Which evidence a model's scores rest on: frames of numbers, and the sections of the page that show them."""

from hybrid.reports.builder import importance_report
from hybrid.reports.report import Basis, ImportanceReport

__all__ = ["Basis", "ImportanceReport", "importance_report"]
