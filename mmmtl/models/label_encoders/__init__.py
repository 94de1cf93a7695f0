"""Label encoders: labels or predictions of all tasks → one map to denoise."""
