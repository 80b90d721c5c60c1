"""What several servers share through a Valkey or Redis: limits, counted faults, runtime changes, recorded requests."""
