"""The DICOM conformance statement (PS3.2), made from the code and a configuration."""
