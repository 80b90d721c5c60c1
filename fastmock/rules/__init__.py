"""Rules: match requests to replies."""
