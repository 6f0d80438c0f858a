"""The network: observe, update, render. It knows tensors only, neither worlds nor files nor the flow's time convention."""
