"""What there is on this machine to embed with, what of it works, and what to do about the rest.

    report = examine()
    [trial.name for trial in report.backends if trial.works]

Nothing imports this but the command line.
"""

from semblance.doctor.report import SMOKE_MODEL, Report, check, check_required, examine

__all__ = ["SMOKE_MODEL", "Report", "check", "check_required", "examine"]
