//! The users file: names, each with what checks its password.
//!
//! A line is `name:SCRAM-SHA-256-SALTED$iterations:salt$key`, the last two in hexadecimal. Blank lines
//! and lines that begin with `#` say nothing. The key is the salted password of RFC 5802: nobody
//! finds the password by it, but whoever has it gets in here, so the file is for the server alone.

use async_trait::async_trait;
use pgwire::api::auth::sasl::scram::gen_salted_password;
use pgwire::api::auth::{AuthSource, LoginInfo, Password};
use pgwire::error::PgWireResult;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The way in which passwords are checked.
const MECHANISM: &str = "SCRAM-SHA-256-SALTED";
/// Bytes of a salt, and of a key.
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// Users and their keys.
pub struct Users {
    known: HashMap<String, Key>,
    /// For names that nobody has, so that they are asked for a password like all others.
    secret: [u8; KEY_BYTES],
}

#[derive(Clone)]
struct Key {
    salt: Vec<u8>,
    key: Vec<u8>,
}

/// Why there are no users.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The file cannot be read.
    #[error("read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A line is none of a user.
    #[error("{file}, line {line}: {wrong}; `millstream postgres-user NAME` makes such lines")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// Nobody is in the file.
    #[error("{file} has no users; `millstream postgres-user NAME` makes lines for it")]
    Nobody {
        /// The file.
        file: PathBuf,
    },
    /// The machine has no random numbers.
    #[error("no random numbers can be had")]
    Random,
    /// A name that cannot stand in the file.
    #[error("'{0}' is no name for a user: it may have no colon and no blank, and not be empty")]
    Name(String),
}

impl Users {
    /// How often a password is hashed. All users have the same, as clients are told it before they
    /// say who they are.
    pub const ITERATIONS: usize = 4_096;

    /// The users in a file.
    pub fn read(file: &Path) -> Result<Self, UsersError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| UsersError::Read { file: file.into(), source })?;
        let mut known = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |wrong| UsersError::Line { file: file.into(), line: at + 1, wrong };
            let (name, key) = parse(line).map_err(wrong)?;
            if known.insert(name, key).is_some() {
                return Err(wrong("the name stands there already"));
            }
        }
        if known.is_empty() {
            return Err(UsersError::Nobody { file: file.into() });
        }
        Ok(Self { known, secret: random()? })
    }

    /// Whether this is the user's password. Takes some milliseconds, whoever it is.
    pub(in crate::serve) fn verify(&self, name: &str, password: &str) -> bool {
        let Key { salt, key } = self.key(name);
        let given = gen_salted_password(password, &salt, Self::ITERATIONS);
        // All bytes are looked at, so that the time tells nothing.
        let different = given.iter().zip(&key).fold(0, |found, (a, b)| found | (a ^ b));
        different == 0 && given.len() == key.len() && self.known.contains_key(name)
    }

    fn key(&self, name: &str) -> Key {
        self.known.get(name).cloned().unwrap_or_else(|| {
            // The same salt whenever the same name comes, and a key that no password has.
            let salt = gen_salted_password(name, &self.secret, 1);
            Key { salt: salt[..SALT_BYTES].to_vec(), key: self.secret.to_vec() }
        })
    }
}

fn parse(line: &str) -> Result<(String, Key), &'static str> {
    let parts = || {
        let (name, rest) = line.split_once(':')?;
        let (mechanism, rest) = rest.split_once('$')?;
        let (iterations, rest) = rest.split_once(':')?;
        let (salt, key) = rest.split_once('$')?;
        Some((name, mechanism, iterations, salt, key))
    };
    let (name, mechanism, iterations, salt, key) =
        parts().ok_or("not name:SCRAM-SHA-256-SALTED$iterations:salt$key")?;
    if !is_name(name) {
        return Err("no name");
    }
    if mechanism != MECHANISM {
        return Err("not SCRAM-SHA-256-SALTED");
    }
    if iterations.parse() != Ok(Users::ITERATIONS) {
        return Err("not 4096 iterations");
    }
    let salt =
        from_hex(salt).filter(|salt| !salt.is_empty()).ok_or("a salt that is no hexadecimal")?;
    let key = from_hex(key).filter(|key| key.len() == KEY_BYTES);
    let key = key.ok_or("a key that is not 64 hexadecimal digits")?;
    Ok((name.into(), Key { salt, key }))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('#')
        && !name.contains(|c: char| c == ':' || c.is_whitespace())
}

/// The line of a user with this password.
pub fn verifier(name: &str, password: &str) -> Result<String, UsersError> {
    if !is_name(name) {
        return Err(UsersError::Name(name.into()));
    }
    let salt: [u8; SALT_BYTES] = random()?;
    let key = gen_salted_password(password, &salt, Users::ITERATIONS);
    let iterations = Users::ITERATIONS;
    Ok(format!("{name}:{MECHANISM}${iterations}:{}${}", hex(&salt), hex(&key)))
}

/// Random bytes, which nobody can guess.
pub(in crate::serve) fn random<const N: usize>() -> Result<[u8; N], UsersError> {
    let mut bytes = [0; N];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| UsersError::Random)?;
    Ok(bytes)
}

/// Two digits a byte.
pub(in crate::serve) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| digits.chunks_exact(2).map(|d| d[0] << 4 | d[1]).collect())
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.known.len())
    }
}

#[async_trait]
impl AuthSource for Users {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let Key { salt, key } = self.key(login.user().unwrap_or_default());
        Ok(Password::new(Some(salt), key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Users, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Users::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_that_are_made_can_be_read() {
        let line = verifier("ana", "sécret").unwrap();
        assert_ne!(line, verifier("ana", "sécret").unwrap(), "salts differ");
        let users = read(&format!("# people\n\n{line}\n")).unwrap();
        let Key { salt, key } = &users.known["ana"];
        assert_eq!(*key, gen_salted_password("sécret", salt, Users::ITERATIONS));
        assert!(!line.contains("sécret"));
        assert!(users.verify("ana", "sécret"));
        assert!(!users.verify("ana", "secret") && !users.verify("bo", "sécret"));
        for name in ["", "a:b", "a b", "#a"] {
            assert!(matches!(verifier(name, "x"), Err(UsersError::Name(_))));
        }
    }

    #[test]
    fn files_that_are_wrong_are_refused_with_the_line() {
        let line = verifier("ana", "secret").unwrap();
        let refused = |text: &str| read(text).unwrap_err();
        assert!(refused("# nobody").contains("has no users"));
        assert!(refused(&format!("{line}\n{line}")).contains("line 2: the name stands there"));
        assert!(refused("ana:secret").contains("line 1"));
        assert!(refused(&line.replace("4096", "1")).contains("not 4096 iterations"));
        assert!(refused(&line[..line.len() - 1]).contains("64 hexadecimal digits"));
    }
}
