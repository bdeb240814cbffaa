"""Stage 1: accept an instance, judge what it is, and record it before the peer hears success."""
