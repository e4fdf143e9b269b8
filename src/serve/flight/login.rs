//! Who comes in: name and password once, for a token that goes along with every call from then on.

use super::status::new_name;
use crate::serve::access::Users;
use crate::serve::held::{Held, Room};
use crate::serve::limits::{FLIGHT_LOGINS, FLIGHT_SESSION_IDLE, FLIGHT_SESSIONS};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Base64 as clients write it: some with padding, some without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who may come in, and who has.
pub(super) struct Login {
    users: Option<Arc<Users>>,
    sessions: Mutex<Held<String>>,
    /// Checking a password is work on purpose: few are checked at the same time.
    turns: Semaphore,
}

impl Login {
    /// Lets in these users, or everybody.
    pub fn new(users: Option<Arc<Users>>) -> Self {
        let room = Room { count: FLIGHT_SESSIONS, bytes: usize::MAX, age: FLIGHT_SESSION_IDLE };
        let sessions = Mutex::new(Held::new(room));
        Self { users, sessions, turns: Semaphore::new(FLIGHT_LOGINS) }
    }

    /// A token for whoever shows name and password.
    pub async fn token(&self, metadata: &MetadataMap) -> Result<String, Status> {
        let shown = authorization(metadata).and_then(|shown| after(shown, "basic"));
        let shown = shown.and_then(|shown| BASE64.decode(shown.trim()).ok());
        let shown = shown.and_then(|shown| String::from_utf8(shown).ok());
        let pair = shown.as_deref().and_then(|shown| shown.split_once(':'));
        let (name, password) = pair.ok_or_else(|| {
            Status::unauthenticated("come in with a name and a password (basic authorization)")
        })?;
        if let Some(users) = &self.users {
            let failed = |error: String| Status::internal(error);
            let _turn = self.turns.acquire().await.map_err(|error| failed(error.to_string()))?;
            let (users, name) = (Arc::clone(users), name.to_owned());
            let password = password.to_owned();
            let verified =
                tokio::task::spawn_blocking(move || users.verify(&name, &password)).await;
            if !verified.map_err(|error| failed(error.to_string()))? {
                return Err(Status::unauthenticated("wrong name or password"));
            }
        }
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let token = new_name()?;
        sessions.keep(&token, name.to_owned(), name.len(), Instant::now());
        Ok(token)
    }

    /// Refuses who has not come in.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if self.users.is_none() {
            return Ok(());
        }
        let token = authorization(metadata).and_then(|shown| after(shown, "bearer"));
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match token.and_then(|token| sessions.get(token.trim(), Instant::now())) {
            Some(_) => Ok(()),
            None => Err(Status::unauthenticated("come in first: no token, or one that is too old")),
        }
    }
}

fn authorization(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("authorization")?.to_str().ok()
}

/// What comes after a word, which may be written large or small.
fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (scheme, rest) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case(word).then_some(rest)
}
