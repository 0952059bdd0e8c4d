"""Simulated users of the bench `ab`."""
