"""When tokens are sent: the latency model and the scheduler."""
