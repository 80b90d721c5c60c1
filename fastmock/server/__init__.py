"""Processes, workers, sockets and the two runtimes; no lower layer depends on any of them."""
