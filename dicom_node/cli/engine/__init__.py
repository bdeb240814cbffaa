"""`dicom-node engine`: TensorRT plans for this device, built, tried and looked after."""
