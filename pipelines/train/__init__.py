"""Making models better: training data, query adapters, fine-tuning, and merging what was learned."""
