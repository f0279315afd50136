"""What several routes take from the address: the key of a picture, and how long an answer may take."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from semblance.gallery.manifest import LARGEST_KEY
from semblance.service import documents

SMALLEST_KEY = -LARGEST_KEY - 1

Key = Annotated[int, Path(ge=SMALLEST_KEY, le=LARGEST_KEY, description="Of 64 bits.")]
Timeout = Annotated[float | None, Query(gt=0, allow_inf_nan=False, description=documents.TIMEOUT_TEXT)]
