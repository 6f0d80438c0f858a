"""Worlds as environments for reinforcement learning: PettingZoo, arrays for many worlds at once, SB3 and TorchRL."""
