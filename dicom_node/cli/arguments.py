"""Kinds of values on the command line: what cannot be meant is refused in words, before anything is done."""

from __future__ import annotations

import argparse
import math
from datetime import date

_MOST = 2**31 - 1


def count(text: str) -> int:
    """Return a whole number from 0 on."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(_MOST)) or int(text) > _MOST:
        message = f"{text!r} is not a whole number from 0 on"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def above_zero(text: str) -> float:
    """Return a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        message = f"{text!r} is not a number above 0"
        raise argparse.ArgumentTypeError(message)
    return number


def seconds(text: str) -> float:
    """Return a finite number of seconds from 0 on."""
    return 0.0 if text == "0" else above_zero(text)


def calendar_day(text: str) -> date:
    """Return a date that is written YYYY-MM-DD."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not a date of the calendar, YYYY-MM-DD"
        raise argparse.ArgumentTypeError(message) from error
