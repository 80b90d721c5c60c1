"""The kinds of faults: a file each, with its settings and its act. A file here is known by being here."""
