"""The work that one JSON Schema of a client may cost."""

STEPS = 120_000
"""Steps that compiling a schema may take. A step stands for about a microsecond; the count is the same everywhere."""

ANSWER_STEPS = 80_000
"""Steps that the values generated for one request may take together."""


class BudgetExceededError(Exception):
    """The work exceeds the budget. Not a SchemaError: what recovers from those must not go on after this."""


class Budget:
    """Counts steps of work, where the work recurses or loops, and ends it beyond a limit.

    Attributes:
        spent: the steps so far.
        limit: the most there may be.
    """

    def __init__(self, limit: int = STEPS) -> None:
        self.limit = limit
        self.spent = 0

    def spend(self, steps: int = 1) -> None:
        """Count steps.

        Raises:
            BudgetExceededError: they are more than are left.
        """
        self.spent += steps
        if self.spent > self.limit:
            raise BudgetExceededError(f"takes more than {self.limit} steps")
