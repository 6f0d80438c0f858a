"""Recorded worlds: the tile codec, episode files, datasets with a manifest, recording, and training windows."""
