"""A disk of its own for a test: a real file system in an image, whose power can be cut."""

import os
import shutil
import subprocess

import pytest

MAKE = {
    "ext4": ["mkfs.ext4", "-q"],
    "xfs": ["mkfs.xfs", "-q"],
    "btrfs": ["mkfs.btrfs", "-q"],
}
OPTIONS = {"xfs": "loop,nouuid"}
BYTES = 600 << 20
"""Sparse: an image takes what is written to it."""


class Disk:
    """A file system of `kind`, mounted at `place`."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.image, self.place = folder / f"{kind}.img", folder / kind
        self.place.mkdir()
        with self.image.open("wb") as file:
            file.truncate(BYTES)
        subprocess.run([*MAKE[kind], self.image], check=True, capture_output=True)
        self.mount()

    def mount(self):
        options = OPTIONS.get(self.kind, "loop")
        subprocess.run(
            ["mount", "-t", self.kind, "-o", options, self.image, self.place], check=True, capture_output=True
        )
        self.place.chmod(0o711)

    def unmount(self):
        subprocess.run(["umount", self.place], check=True, capture_output=True)

    def cut(self, *processes):
        """The power fails while `processes` use the disk, and comes back: what was in memory only is gone.

        The image is what the disk got. It is copied while the file system is mounted, so that nothing which
        unmounting would write gets into the copy, and mounted again in its place: the file system recovers.
        """
        for process in processes:
            process.send_signal(19)  # SIGSTOP
        after = self.image.with_suffix(".after")
        subprocess.run(["cp", "--sparse=always", self.image, after], check=True)
        for process in processes:
            process.kill()
            process.wait()
        self.unmount()
        after.replace(self.image)
        self.mount()


def make_disk(kind, folder):
    """Skips the test, with the reason, where this machine cannot mount such a disk."""
    if os.geteuid() != 0:
        pytest.skip("mounting a disk image needs root")
    if shutil.which(MAKE[kind][0]) is None:
        pytest.skip(f"{MAKE[kind][0]} is not here: deploy/install-tools e2fsprogs xfsprogs btrfs-progs")
    try:
        return Disk(kind, folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no {kind} in an image here: {error.stderr.decode(errors='replace').strip()}")
