"""TaskDiffusion (Yang et al., ICLR 2025): all tasks are denoised together, as one cross-task map.

Read :mod:`.decoder` (training and sampling; Algorithms 1 and 2), then :mod:`.label_encoder`, :mod:`.denoiser` (the
cross-task diffusion decoder), :mod:`.heads`. What the names stand for in the paper (section 3.2):

=========================  ============================================================================================
here                       paper
=========================  ============================================================================================
``feats``, ``levels``      X^l: features of the backbone's level l, after the neck
``conditions[i][s]``       F_i^s: features of level i for task s, from the task-specific branches (:mod:`.conditions`)
``targets``, ``raw``       K_s: labels; k_s: predicted logits
``codes[s]``               K'_s: encoded labels of one task
``clean``                  z, z_0: cross-task map
``z``                      z_t: noisy cross-task map
``relation[:, s, p]``      A_i^{s,p}: task-relation map, what task s takes from task p
``mixed[s]``               U_i^s: task-fused features
``mask[:, i]``             M_i^s: level-fusing map
``fused[s]``               F'_s: aggregated features
``scale``                  scale of the encoded labels (Table 5)
``steps``                  T: sampling steps (Table 6); ``time_difference`` is t_diff
s, p; i; E                 tasks (target, source); level; channels of a level, the paper's C
=========================  ============================================================================================

Shapes: B images, S tasks, L levels, z channels of the cross-task map, h x w its grid.
"""

from mmmtl.models.layers.mlore import MLoREConditions

from .ablations import TaskSpecificDenoiser
from .conditions import ConvConditions, NoConditions
from .converter import TaskDiffusionConverter
from .decoder import TaskDiffusionDecoder
from .denoiser import CrossTaskDenoiser
from .label_encoder import CrossTaskLabelEncoder

__all__ = [
    'ConvConditions',
    'CrossTaskDenoiser',
    'CrossTaskLabelEncoder',
    'MLoREConditions',
    'NoConditions',
    'TaskDiffusionConverter',
    'TaskDiffusionDecoder',
    'TaskSpecificDenoiser',
]
