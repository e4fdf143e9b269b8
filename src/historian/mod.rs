//! The historian room.
