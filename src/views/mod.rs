//! The views room.
