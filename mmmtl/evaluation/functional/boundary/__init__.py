"""Boundary evaluation: suppression, thinning, matching, counts and the figures of their sums."""
