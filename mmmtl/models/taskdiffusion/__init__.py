"""TaskDiffusion (ICLR 2025): joint denoising of all tasks in one cross-task map."""

from .conditions import ConvConditions
from .decoder import TaskDiffusionDecoder
from .label_encoder import CrossTaskLabelEncoder
from .mlore import MLoREConditions

__all__ = ['ConvConditions', 'CrossTaskLabelEncoder', 'MLoREConditions', 'TaskDiffusionDecoder']
