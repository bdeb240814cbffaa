"""DICOM files: bounded header scan, decoding, writing. The boundary to pydicom and the codecs."""
