"""VHDX files from the specification, and what a reader must make of them."""
