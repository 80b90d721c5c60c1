"""The limit on the work for one JSON Schema from a client."""

STEPS = 120_000
"""The maximum number of steps to compile a schema. A step is about a microsecond; the count is the same on every
machine.
"""

ANSWER_STEPS = 80_000
"""The maximum number of steps to generate all values for one request."""


class BudgetExceededError(Exception):
    """The work exceeds the budget. Not a SchemaError: code that recovers from those must not continue after this."""


class Budget:
    """Counts steps of work, where the work recurses or loops, and stops it at a limit.

    Attributes:
        spent: the steps so far.
        limit: the maximum number of steps.
    """

    def __init__(self, limit: int = STEPS) -> None:
        self.limit = limit
        self.spent = 0

    def spend(self, steps: int = 1) -> None:
        """Count steps.

        Raises:
            BudgetExceededError: the limit is exceeded.
        """
        self.spent += steps
        if self.spent > self.limit:
            raise BudgetExceededError(f"takes more than {self.limit} steps")
