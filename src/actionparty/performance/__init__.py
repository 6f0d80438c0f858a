"""How fast worlds are generated, where the time goes, and what the machine could do at best."""
