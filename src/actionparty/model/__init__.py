"""The network: observe, update, render. It knows tensors only: no worlds, no files, not the flow's time convention."""
