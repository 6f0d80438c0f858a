"""Training: flow matching of states and frames, the loop, checkpoints."""
