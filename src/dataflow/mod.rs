//! The dataflow room.
