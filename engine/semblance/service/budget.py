"""How many bytes of bodies the service holds at a time, all requests together.

In: what a request says it will send, and what it sends. Out: leave to hold it, or Overloaded at once. Without it a
thousand connections, each within its own limit, would together take more memory than there is.
"""

from __future__ import annotations

from types import TracebackType

from semblance.errors import Overloaded


class ByteBudget:
    """Bytes that may be held at a time. Used by one event loop only, so nothing is locked."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def share(self) -> Share:
        """A request's part of it, given back at the end of `with`."""
        return Share(self)


class Share:
    """What one request holds."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._taken = 0

    def check(self, num_bytes: int) -> None:
        """Whether `num_bytes` could be held now; they are not, since whoever says so may never send them.

        Raises Overloaded.
        """
        if self._budget.taken + num_bytes - self._taken > self._budget.most:
            raise Overloaded(
                f"bodies of {self._budget.taken:,} bytes are being worked on, {self._budget.most:,} may be; ask again"
            )

    def grow_to(self, num_bytes: int) -> None:
        """Hold `num_bytes` from now on, if that is more. Raises Overloaded."""
        more = num_bytes - self._taken
        if more <= 0:
            return
        self.check(num_bytes)
        self._budget.taken += more
        self._taken += more

    def __enter__(self) -> Share:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.taken -= self._taken
        self._taken = 0
