"""What the benches of loading share: rows, a server, the product's own publish, and the peers in their own environment."""
