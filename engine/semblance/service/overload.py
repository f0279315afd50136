"""Requests refused by their head, since more is pending than may be: an answer that costs next to nothing.

In: method and target of a request. Out: a whole answer, or None where there is room. Of twice the load that a machine
bears every second request ends here: were it to cost what a route costs, the other half would get less done.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from semblance.service.admission import no_room
from semblance.service.refusals import Overloaded

if TYPE_CHECKING:
    from semblance.service.state import Service

# those that are asked most; the others are refused by their routes
_TARGETS = {b"/v1/embed": "/v1/embed", b"/v1/search": "/v1/search"}
_TOLD_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Overload:
    """What stands before the application of one process."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._answers = Overloaded(no_room(service.settings.max_pending_images))
        self._num_untold = 0
        self._told_at = 0.0
        # other pages' scripts need headers of theirs to hear of a refusal
        self._is_off = bool(service.settings.allow_origin)

    def turn_away(self, method: bytes, target: bytes) -> bytes | None:
        """The answer to a request that there is no room for; None for any other."""
        if self._is_off or method != b"POST" or not self._service.is_open or not self._service.is_full:
            return None
        route = _TARGETS.get(target.partition(b"?")[0])
        if route is None:
            return None
        self._service.metrics.answered(route, "POST", 429, 0.0)
        self._num_untold += 1
        if (now := time.monotonic()) - self._told_at >= _TOLD_EVERY_S:  # a line for each would be a load of its own
            _log.warning("overloaded: %d requests refused", self._num_untold, extra={"refused": self._num_untold})
            self._num_untold, self._told_at = 0, now
        return self._answers.answer()
