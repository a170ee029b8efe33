"""Checks of guides: importance weights of their draws, simulation-based calibration, records for ArviZ."""

from .arviz_records import to_arviz
from .calibration import Calibration, calibrate
from .importance import GuideCheck

__all__ = ["Calibration", "GuideCheck", "calibrate", "to_arviz"]
