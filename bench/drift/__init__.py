"""What the drift benches share: real text cut into clustered passages, its vectors, and windows with known drift."""
