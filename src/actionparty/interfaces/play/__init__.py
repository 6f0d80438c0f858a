"""Playing together: rooms, the engine behind them, the server in front of them, and what travels between."""
