"""mmmtl: multi-task dense prediction with diffusion decoders, in the OpenMMLab way."""

from mmmtl.compat import apply_shims
from mmmtl.version import __version__

apply_shims()

__all__ = ['__version__']
