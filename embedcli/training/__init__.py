"""A training run: the loop, the gradients of a group of batches, and what keeps a run."""
