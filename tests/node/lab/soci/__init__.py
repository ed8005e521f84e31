"""The snapshotter daemon of the lab, and release tarballs holding it."""
