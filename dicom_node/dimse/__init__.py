"""The DICOM network: who may talk to us, receiving, sending. The only owner of pynetdicom."""
