"""When things are sent."""
