//! Who may come in at the doors of SQL clients, and whether what is said there is encrypted.

mod users;
mod tls;

pub use tls::{Tls, TlsError};
pub use users::{Users, UsersError, verifier};

pub(super) use users::{hex, random};

use std::sync::Arc;

/// Who may come in at a door, and how.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Who may; everybody when there is nobody in particular.
    pub users: Option<Arc<Users>>,
    /// With it nobody is served without encryption.
    pub tls: Option<Tls>,
}
