//! The Python module hypercbt._native: conversions only.
