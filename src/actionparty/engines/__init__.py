"""What runs the network while sampling: PyTorch, ONNX Runtime or OpenVINO behind one small interface."""
