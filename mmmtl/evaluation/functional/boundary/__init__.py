"""Boundary evaluation: suppression, thinning, matching, counts and the metrics of their sums."""
