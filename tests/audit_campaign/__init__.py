"""A host that misses changes, and the audit that has to find them: `python -m audit_campaign`."""
