"""Stage 4: bring a published result to a destination."""
