"""Diorama: procedural miniature scenes with exact labels for all ten tasks."""

from .dataset import Diorama

__all__ = ['Diorama']
