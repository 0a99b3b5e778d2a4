"""Manifests on the way in: read, refused by name where unsupported, checked as the real server checks them."""
