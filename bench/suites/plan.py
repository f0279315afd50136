"""What a suite is told: how thorough to be, with how many threads, and where its files may lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Profile = Literal["quick", "full"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Of one run of the suites."""

    profile: Profile
    threads: int  # of each contender
    folder: Path  # for what is made for contenders to read; it is gone after the run

    @property
    def is_full(self) -> bool:
        """Whether it may take its time."""
        return self.profile == "full"
