"""dicom-node: a DICOM-native second pair of eyes for fractures (research software, not a medical device)."""

import os

__version__ = "0.1.0"

# Before anything of ours imports ONNX Runtime, which from 1.32 on reports its use to its maker unless this is set.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
