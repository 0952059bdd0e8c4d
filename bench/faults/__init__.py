"""Fault injectors and the throw-away corpus they are let loose on; each takes a seed. The benches beside it use them."""
