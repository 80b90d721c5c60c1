"""The providers whose APIs are served: a folder each."""
