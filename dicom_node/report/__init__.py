"""Stage 3: a study's finding becomes a Structured Report and a Secondary Capture series (owner of highdicom)."""
