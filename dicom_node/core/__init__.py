"""Pure values and decisions: no disk, socket, clock or log (standard library and numpy only)."""
