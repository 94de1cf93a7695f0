"""Whole environments, made fresh: other versions of Python, and the forks of mmengine's family."""
