"""Property tests have no deadline per example: it measures the machine's other work."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("millrace", deadline=None)
settings.load_profile("millrace")
