//! Tests over real HTTP, with doors that say what they were asked.

mod doors;
mod rows;
mod bodies;
mod streams;
