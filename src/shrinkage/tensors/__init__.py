"""What is asked of torch's tensors: norms, singular values, thresholds, shards, wrappers."""
