"""The configuration: one table of settings, and the layers that fill it."""
