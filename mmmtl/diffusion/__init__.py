"""Schedules, sampler steps and noise sources: pure maths on tensors, no networks."""
