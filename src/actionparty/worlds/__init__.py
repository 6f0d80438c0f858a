"""Ground truth: real games behind one ``World`` protocol, who acts while recording, and a catalogue by name."""
