"""Drills: what the documents promise of interruptions, damage and strangers' files, tried many times over."""
