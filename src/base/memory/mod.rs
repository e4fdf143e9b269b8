//! How much memory this process may use, how much it does use, and who is told to wait.
//!
//! Rooms say what they hold; somebody asks all of them from time to time and reports the sum, and
//! the size of the process, to the one [`Budget`]. Whoever takes in what makes the process grow asks
//! the budget first.

mod available;
mod process;
mod judge;
mod budget;

pub use available::{Available, Origin, available};
pub use budget::{Admitted, Budget, Component, Held, Refused, Usage};
pub use process::resident;
