"""What fastmock is measured against, in the same run."""
