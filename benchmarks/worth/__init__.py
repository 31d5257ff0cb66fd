"""What structured pruning is worth: ours beside Torch-Pruning's, on the same networks, data, MACs and training."""
