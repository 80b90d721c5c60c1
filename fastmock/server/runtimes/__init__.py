"""The two runtimes, Robyn and Granian."""
