"""The API: one file per endpoint family, over shared errors, checks and authentication."""
