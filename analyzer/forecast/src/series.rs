//! A series as it comes in.
