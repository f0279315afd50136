"""What the system lets this process have: as many open files as it may, since a gallery maps each of its own."""

from __future__ import annotations

from contextlib import suppress


def allow_many_files() -> None:
    """Raise the limit of open files from the usual 1,024 to the most that the system allows without privileges."""
    with suppress(ImportError, OSError, ValueError):  # Windows has none; some systems allow less than they say
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
