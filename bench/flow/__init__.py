"""What the benches `e2e` and `replay` share: corpora, engines, readers and the page of figures."""
