"""Stage 2: from pixels to a finding. Knows no queue, no network and no DICOM file."""
