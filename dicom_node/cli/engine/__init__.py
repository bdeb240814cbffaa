"""`dicom-node engine`: bundles made from what others publish, and TensorRT plans for this device."""
