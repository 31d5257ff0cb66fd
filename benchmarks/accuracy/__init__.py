"""What is left of the accuracy: the service beside torch.nn.utils.prune and Torch-Pruning, in equally many steps."""
