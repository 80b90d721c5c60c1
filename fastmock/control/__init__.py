"""What watches and steers a running server."""
