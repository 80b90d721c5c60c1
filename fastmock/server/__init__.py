"""Workers, sockets and the two runtimes; nothing below knows that any of them exist."""
