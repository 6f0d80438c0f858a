"""Agents that walk in: the playground's rooms for programs and language models, as text, over WebSocket and MCP."""
