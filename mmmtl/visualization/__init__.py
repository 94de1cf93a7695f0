"""Pictures: one panel per image with every task's ground truth and prediction, and predictions as files."""

from .explanation import draw_explanation, principal_colours
from .mlflow_backend import MLflowVisBackend
from .panel import TRUTH, draw_panel, draw_rows
from .panel_visualizer import PanelVisualizer, maps_of, panel_of_sample
from .photograph import input_photograph
from .raw_writer import read_raw, write_raw

__all__ = [
    'TRUTH',
    'MLflowVisBackend',
    'PanelVisualizer',
    'draw_explanation',
    'draw_panel',
    'draw_rows',
    'input_photograph',
    'maps_of',
    'panel_of_sample',
    'principal_colours',
    'read_raw',
    'write_raw',
]
