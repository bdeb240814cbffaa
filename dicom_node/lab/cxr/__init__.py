"""CXR Foundation, once and offline: from a user's SavedModel to a bundle that serves. The only place for TensorFlow."""
