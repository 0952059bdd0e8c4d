"""Telling drift: whether a corpus, its questions or its embedder changed by more than chance. Pure."""
