"""The parts of the bench `retrieval`: judged questions, filters, and words at a million chunks."""
