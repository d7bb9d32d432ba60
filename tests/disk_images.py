"""A disk for one test: a real file system in an image, whose power can be cut."""

import os
import shutil
import signal
import subprocess

import pytest
from patience import wait_until

MAKE = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}
# What a slow machine must not have written by the clock while a test is at it. (xfs has no such option: 30 s.)
OPTIONS = {"ext4": "loop,commit=300", "xfs": "loop,nouuid", "btrfs": "loop,commit=300"}
BYTES = 700 << 20  # of a sparse file


class Disk:
    """A file system of `kind`, mounted at `place`."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.image, self.place = folder / f"{kind}.img", folder / kind
        self.place.mkdir()
        with self.image.open("wb") as file:
            file.truncate(BYTES)
        run(*MAKE[kind], self.image)
        self.mount()
        self.place.chmod(0o755)
        self.sync()

    def sync(self):
        """Of this file system only: to sync all would save what another worker's disk is about to lose."""
        run("sync", "--file-system", self.place)

    def mount(self):
        run("mount", "-t", self.kind, "-o", OPTIONS[self.kind], self.image, self.place)

    def unmount(self):
        """Waits for the last processes of a killed PostgreSQL, which still end."""
        umount = ["umount", self.place]
        wait_until(
            lambda: subprocess.run(umount, capture_output=True, check=False).returncode == 0, every=0.1
        )

    def cut(self, *pids):
        """The power fails while these processes use the disk, and comes back; they are killed.

        The image holds what the disk has got. It is copied while the file system is mounted, so that nothing
        which unmounting writes is in the copy; then the copy is mounted, and the file system recovers.
        """
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        after = self.image.with_suffix(".after")
        run("cp", "--sparse=always", self.image, after)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.unmount()
        after.replace(self.image)
        self.mount()


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


def make_disk(kind, folder):
    """Skips the test, with the reason, where this machine cannot mount such a disk."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk image")
    if shutil.which(MAKE[kind][0]) is None:
        pytest.skip(f"no {MAKE[kind][0]} here: deploy/install-tools e2fsprogs xfsprogs btrfs-progs")
    try:
        return Disk(kind, folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no {kind} in an image here: {error.stderr.decode(errors='replace').strip()}")
