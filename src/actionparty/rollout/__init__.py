"""The generated world: rollouts of a trained network, alone or in batches, and the scenes they start from."""
