"""The web page: one network, fixed at the start, for photographs that visitors upload. Needs the extra ``app``."""

from .limits import Limits
from .serve import serve

__all__ = ['Limits', 'serve']
