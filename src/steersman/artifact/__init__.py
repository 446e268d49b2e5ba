"""Everything on disk: files written whole, artifacts with their manifests, unfinished stages, the workspace."""
