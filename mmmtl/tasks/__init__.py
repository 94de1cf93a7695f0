"""One file per task; :func:`build_tasks` turns the configs of an experiment into objects."""

from mmmtl.errors import LabelError
from mmmtl.utils.labels import IGNORE

from .albedo import Albedo
from .base import Legend, Task, build_tasks
from .boundary import Boundary
from .categorical import CategoricalTask
from .continuous import ContinuousTask, VectorTask
from .depth import Depth
from .human_parts import HumanParts
from .optical_flow import OpticalFlow
from .saliency import Saliency
from .scene_flow import SceneFlow
from .semantic_segmentation import SemanticSegmentation
from .shading import Shading
from .surface_normals import SurfaceNormals

__all__ = [
    'IGNORE',
    'Albedo',
    'Boundary',
    'CategoricalTask',
    'ContinuousTask',
    'Depth',
    'HumanParts',
    'LabelError',
    'Legend',
    'OpticalFlow',
    'Saliency',
    'SceneFlow',
    'SemanticSegmentation',
    'Shading',
    'SurfaceNormals',
    'Task',
    'VectorTask',
    'build_tasks',
]
