"""`dicom-node demo`: a PACS, the node and a study, from the first C-STORE to the report in words."""
