"""The contracts between all rooms, and helpers that know none of them."""
