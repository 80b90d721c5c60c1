"""The kinds of faults: one file each, with its settings. All modules in this package are registered."""
