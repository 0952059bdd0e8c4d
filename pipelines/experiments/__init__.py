"""Experiments on users: who sees which arm, what was better, and when that may be said. Pure."""
