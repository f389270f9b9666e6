"""The outside of the lab host: HTTP, authentication, sealing, SOAP, WQL, and CIM values as text.

It knows no virtual machine: what it answers comes from a `Provider` (`hypercbt.lab.wire.provider`).
"""
