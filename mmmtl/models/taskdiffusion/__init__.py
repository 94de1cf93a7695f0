"""TaskDiffusion (ICLR 2025): joint denoising of all tasks in one cross-task map."""

from .conditions import ConvConditions
from .converter import TaskDiffusionConverter
from .decoder import TaskDiffusionDecoder
from .label_encoder import CrossTaskLabelEncoder
from .mlore import MLoREConditions

__all__ = [
    'TaskDiffusionConverter',
    'ConvConditions',
    'CrossTaskLabelEncoder',
    'MLoREConditions',
    'TaskDiffusionDecoder',
]
