"""How much is let through, and how much at once."""
