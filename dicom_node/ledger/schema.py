"""The one collection of tables, to which each module that owns some adds them, and the types of their columns."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData, Text

metadata = MetaData()

#: SQLite's INTEGER has eight bytes anyway, and as a key it must be called so; a data set may have more than two GiB.
Whole = BigInteger().with_variant(Integer(), "sqlite")
#: Compared byte by byte, as SQLite does, whatever the locale of the server: ranges of names are asked for.
Words = Text().with_variant(Text(collation="C"), "postgresql")
