"""What lies on the disk: files written whole, artifacts with their manifests, unfinished stages, the workspace."""
