"""The running containerd and SOCI: ctr, images, pods, probe, switch, unwire; standard library only."""
