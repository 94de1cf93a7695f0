"""Networks and data sets from elsewhere: weights that ship or lie on a hub, and downloads of data."""

from .pretrained import from_pretrained, push_to_hub, save_pretrained
from .shipped_weights import DEFAULT_MODEL, list_shipped, shipped_folder

__all__ = ['DEFAULT_MODEL', 'from_pretrained', 'list_shipped', 'push_to_hub', 'save_pretrained', 'shipped_folder']
