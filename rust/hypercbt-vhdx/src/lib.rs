//! Which bytes of which file are which bytes of a virtual disk.
