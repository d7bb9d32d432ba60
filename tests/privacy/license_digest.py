"""What stands for a license key on the wire."""

from hashlib import sha256


def digest_of(slug, key):
    return sha256(f"license\n{slug}\n{key}".encode()).hexdigest()
