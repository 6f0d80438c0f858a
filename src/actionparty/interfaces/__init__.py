"""How people and programs reach the library: the command line and its terminal. Nothing below imports this."""
