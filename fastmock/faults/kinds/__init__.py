"""The kinds of faults, a file each."""
