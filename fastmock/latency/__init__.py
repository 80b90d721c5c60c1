"""The latency model and the scheduler that sends tokens on time."""
