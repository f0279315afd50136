"""What /metrics says against what clients saw: exact where all is answered, within what may have been where not."""

from __future__ import annotations

import numpy as np

from bench.service.figures import Figures, Life, misfits
from bench.service.load import Seen

TEXT = """# HELP semblance_requests_total x
# TYPE semblance_requests_total counter
semblance_requests_total{route="/v1/embed",method="POST",status="200"} 3.0
semblance_requests_total{route="/v1/embed",method="POST",status="429"} 1.0
semblance_requests_total{route="/readyz",method="GET",status="200"} 7.0
semblance_images_total{outcome="embedded"} 3.0
semblance_pending_images 0.0
"""


def seen(statuses: list[int], finished: float = 1.0, failure: list[int] | None = None) -> Seen:
    num = len(statuses)
    times = np.full(num, finished)
    return Seen(
        kinds=["good"], kind=np.zeros(num, np.int16), num_images=np.ones(num, np.int32), due=times - 0.1,
        sent=times - 0.1, first=times, finished=times, status=np.array(statuses, np.int16),
        verdict=np.ones(num, np.int8), failure=np.array(failure or [0] * num, np.int8), start=0.0, end=2.0, cpu_s=0.0,
    )  # fmt: skip


def found(text: str, what: Seen, *, hung_up: tuple[float, ...] = ()) -> list[str]:
    return misfits(Figures.read(text, 5.0, 5.1), Life([what], 0.0, list(hung_up)))


def test_the_text_is_read() -> None:
    figures = Figures.read(TEXT, 1.0, 2.0)
    assert figures.requests["/v1/embed", "POST", 200] == 3
    assert figures.images == {"embedded": 3}
    assert figures.gauges["semblance_pending_images"] == 0


def test_figures_that_add_up_are_well() -> None:
    assert found(TEXT, seen([200, 200, 200, 429])) == []


def test_a_request_too_few_or_too_many_is_found() -> None:
    assert found(TEXT, seen([200, 200, 429])) == [
        "POST /v1/embed 200: 3 counted, 2 to 2 seen",
        "images embedded: 3 counted, 2 to 2 seen",
    ]
    assert found(TEXT, seen([200] * 4 + [429]))[0] == "POST /v1/embed 200: 3 counted, 4 to 4 seen"
    assert found(TEXT, seen([200] * 3))[0] == "POST /v1/embed 429: 1 counted, 0 to 0 seen"


def test_a_client_that_hung_up_may_have_been_counted() -> None:
    assert found(TEXT, seen([200, 200, 429]), hung_up=(0.5,)) == []
    assert found(TEXT, seen([200, 200, 429]), hung_up=(9.0,)) != []  # that was later


def test_a_broken_request_may_have_been_counted() -> None:
    assert found(TEXT, seen([200, 200, 429, 0], failure=[0, 0, 0, 2])) == []


def test_what_is_in_flight_may_have_been_counted() -> None:
    assert found(TEXT, seen([200] * 3 + [429], finished=5.02)) == []
    assert found(TEXT, seen([200] * 5 + [429], finished=5.02)) == []
    assert found(TEXT, seen([200] * 5 + [429], finished=4.0)) != []


def test_images_that_failed_are_found() -> None:
    text = TEXT + 'semblance_images_total{outcome="failed"} 1.0\n'
    assert found(text, seen([200] * 3 + [429])) == ["images failed: 1 counted, at most 0 can be"]
