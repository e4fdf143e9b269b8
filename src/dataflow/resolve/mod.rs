//! Resolve: from rows of devices to rows of assets.
//!
//! `directory` knows where the rows of a device go, `columns` which column becomes which slot,
//! `resolver` turns one batch, `operator` waits until the catalog of an epoch is complete.

mod operator;
mod resolver;
mod directory;
mod columns;
mod fill;
#[cfg(test)]
mod tests;

pub use operator::render;
