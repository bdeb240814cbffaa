"""dicom-node: a DICOM-native second pair of eyes for fractures (research software, not a medical device)."""

__version__ = "0.1.0"
