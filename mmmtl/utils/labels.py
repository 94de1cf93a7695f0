"""What every room knows of label maps."""

IGNORE = 255
"""The value of an invalid pixel in a categorical map; an invalid pixel of a continuous map is NaN in all channels."""
