"""The inside of the lab host: virtual machines, disks, checkpoints, reference points and jobs.

It knows no XML: it is a `Provider` (`hypercbt.lab.wire.provider`) that the wire asks.
"""
