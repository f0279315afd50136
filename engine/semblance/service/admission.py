"""Whether a request is taken at all: before its body is read, by what the service has and does just now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semblance.service.problems import Problem, draining, overloaded, unavailable

if TYPE_CHECKING:
    from semblance.service.live import LiveGallery
    from semblance.service.state import Service


def check_open(service: Service) -> None:
    """Refuse where nothing is answered yet, or any more. Raises Problem.

    Not so while it drains: who still sends has not heard of it, and has `drain_delay_s` for that.
    """
    if not service.is_open:
        raise of_state(service)


def check_room(service: Service) -> None:
    """`check_open`; and refuse pictures before they are read where they would be after it. Raises Problem."""
    check_open(service)
    if service.is_full:
        raise no_room(service.settings.max_pending_images)


def no_room(most: int) -> Problem:
    """What to say where `most` images are pending."""
    return overloaded(f"{most:,} images are pending, which is all that may be; ask again")


def of_state(service: Service) -> Problem:
    """Why a service that is not ready is not."""
    if service.is_draining:
        return draining()
    if service.is_failing:
        return unavailable(
            "failing", "the model cannot be run any more, or nothing be stored; the service's log says why"
        )
    return unavailable("starting", "the service is not ready yet; ask again")


def gallery_of(service: Service) -> LiveGallery:
    """The gallery. Raises Problem where a model is served alone."""
    if service.gallery is None:
        raise Problem(404, "no-gallery", "no gallery is served here, only a model: /v1/embed is what it answers")
    return service.gallery
