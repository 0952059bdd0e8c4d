"""What the embedding benches share: texts of two length mixes, engines in processes of their own, the GEMM peak."""
