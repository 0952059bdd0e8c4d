"""Fault injectors and the throw-away corpus they are let loose on. Each takes a seed; the benches beside this folder use them."""
