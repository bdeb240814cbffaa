"""The one collection of tables; each module that owns some adds them."""

from __future__ import annotations

from sqlalchemy import MetaData

metadata = MetaData()
