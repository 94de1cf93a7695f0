"""What is counted, measured, compared and reported about networks and runs."""

from .browse import browse_dataset
from .complexity import complexity_report, count_complexity
from .logs import plot_logs, read_log, summarize_log
from .report import evaluate_and_report, make_report

__all__ = [
    'browse_dataset',
    'complexity_report',
    'count_complexity',
    'make_report',
    'plot_logs',
    'read_log',
    'summarize_log',
    'evaluate_and_report',
]
