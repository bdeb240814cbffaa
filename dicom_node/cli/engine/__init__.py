"""`dicom-node engine …`: making and checking model bundles and what runs them."""
