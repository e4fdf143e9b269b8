//! By which names this server may be called.
//!
//! A page that a browser has from a foreign site can make that site's name point to the loopback
//! address, and then ask this server as if it were its own (DNS rebinding). Its requests carry the
//! foreign name as their host.

use super::doors::{DoorError, ErrorKind};
use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;
use std::net::IpAddr;
use std::sync::Arc;

/// The names that requests may call this server by.
#[derive(Clone, Debug)]
pub struct Hosts {
    names: Arc<[String]>,
    any: bool,
}

impl Hosts {
    /// On a loopback address, or where names are given: `localhost`, addresses, and those names.
    /// Elsewhere any.
    pub fn new(listener: IpAddr, names: &[String]) -> Self {
        let any = !listener.is_loopback() && names.is_empty();
        Self { names: names.iter().map(|name| name.to_ascii_lowercase()).collect(), any }
    }

    fn allow(&self, host: &str) -> bool {
        if self.any || host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let name = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.names.contains(&name)
    }

    /// Refuses a request that calls this server by a name that is not its own.
    pub(super) fn refusal(&self, request: &Request) -> Option<DoorError> {
        let header = request.headers().get(header::HOST);
        let header = header.map(|host| Authority::try_from(host.as_bytes()));
        let host = match &header {
            Some(Ok(authority)) => authority.host(),
            Some(Err(_)) => "?",
            // What is no browser may leave it out.
            None => request.uri().host()?,
        };
        (!self.allow(host)).then(|| {
            DoorError::new(ErrorKind::Forbidden, format!("this server is not called '{host}'"))
                .hint("ask localhost or an address, or start it with --allowed-host NAME")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_listeners_know_their_names() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let local = Hosts::new(address("127.0.0.1"), &["Plant.example".into()]);
        for host in ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "[::1]", "10.0.0.7"] {
            assert!(local.allow(host), "{host}");
        }
        assert!(local.allow("plant.EXAMPLE"));
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "?", ""] {
            assert!(!local.allow(host), "{host}");
        }
        assert!(!Hosts::new(address("::1"), &[]).allow("plant.example"));
        assert!(Hosts::new(address("0.0.0.0"), &[]).allow("plant.example"));
        assert!(!Hosts::new(address("0.0.0.0"), &["a.example".into()]).allow("plant.example"));
    }
}
