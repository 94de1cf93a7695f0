"""Writers of miniature data sets in their published layouts, with the traps that the real ones hold."""

from .mtan import write_mtan
from .nyudv2 import plant_nyudv2_faults, write_nyudv2
from .pascal_context import plant_pascal_faults, write_pascal_context

__all__ = ['plant_nyudv2_faults', 'plant_pascal_faults', 'write_mtan', 'write_nyudv2', 'write_pascal_context']
