"""Placeholder until the sets are in."""

_base_ = '../tasks/stablemtl.py'
