//! The command line: what can be typed, and what is printed.

mod args;
mod run;
mod serve;
mod demo;
mod replay;
mod summary;
mod export;
mod ask;
mod check;

pub use run::main;
