"""Which requests are refused before anything is read of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from semblance.service.admission import check_open, check_room, gallery_of
from semblance.service.problems import Problem


def service(**told: Any) -> Any:
    usual = {"is_open": True, "is_full": False, "is_draining": False, "is_failing": False, "gallery": object()}
    return SimpleNamespace(**{**usual, **told}, settings=SimpleNamespace(max_pending_images=5))


@pytest.mark.parametrize(
    ("told", "status", "name"),
    [
        ({"is_open": False}, 503, "starting"),
        ({"is_open": False, "is_draining": True}, 503, "draining"),
        ({"is_open": False, "is_failing": True}, 503, "failing"),
        ({"is_full": True}, 429, "overloaded"),
    ],
)
def test_who_is_not_taken(told: Any, status: int, name: str) -> None:
    with pytest.raises(Problem) as caught:
        check_room(service(**told))
    assert (caught.value.status, caught.value.name) == (status, name)


def test_who_is_taken() -> None:
    check_room(service())
    check_room(service(is_draining=True))  # who has not heard of it
    check_open(service(is_full=True))  # what needs no room


def test_a_gallery_is_needed() -> None:
    one = service()
    assert gallery_of(one) is one.gallery
    with pytest.raises(Problem) as caught:
        gallery_of(service(gallery=None))
    assert (caught.value.status, caught.value.name) == (404, "no-gallery")
