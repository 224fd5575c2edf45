"""Model data: generated from models.dev and `profile_augmentations.toml`."""
