//! The command line: what can be typed, and what is printed.

#[macro_use]
mod print;
mod args;
mod run;
mod serve;
mod clients;
mod cluster;
mod demo;
mod replay;
mod summary;
mod export;
mod ask;
mod retention;
mod query;
mod schemas;
mod check;

pub use run::main;
