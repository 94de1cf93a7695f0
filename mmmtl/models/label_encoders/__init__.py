"""Label encoders: labels or predictions of all tasks → one map to denoise."""

from .cross_task import CrossTaskLabelEncoder

__all__ = ['CrossTaskLabelEncoder']
