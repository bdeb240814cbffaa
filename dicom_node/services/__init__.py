"""The processes: supervisor, node, worker. The only code with loops, clocks, signals and wiring."""
