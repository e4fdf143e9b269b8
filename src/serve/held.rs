//! What is kept for clients under names, until it has not been used for too long, or others need the
//! room: then what was not used for the longest time goes first.

use super::access::{UsersError, hex, random};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub count: usize,
    pub bytes: usize,
    pub age: Duration,
}

/// Things by their names.
#[derive(Debug)]
pub(super) struct Held<T> {
    room: Room,
    kept: HashMap<String, Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    thing: T,
    bytes: usize,
    used: Instant,
}

impl<T> Held<T> {
    pub fn new(room: Room) -> Self {
        Self { room, kept: HashMap::new() }
    }

    /// Keeps something that takes so many bytes, in place of what had this name.
    pub fn keep(&mut self, name: &str, thing: T, bytes: usize, now: Instant) {
        self.kept.insert(name.to_owned(), Kept { thing, bytes, used: now });
        self.make_room(name, now);
    }

    /// What is kept under a name, which is used by that.
    pub fn get(&mut self, name: &str, now: Instant) -> Option<&mut T> {
        self.age(now);
        let kept = self.kept.get_mut(name)?;
        kept.used = now;
        Some(&mut kept.thing)
    }

    /// What is kept under a name takes another number of bytes now.
    pub fn resize(&mut self, name: &str, bytes: usize, now: Instant) {
        if let Some(kept) = self.kept.get_mut(name) {
            kept.bytes = bytes;
        }
        self.make_room(name, now);
    }

    /// Forgets what is kept under a name, and hands it out.
    pub fn forget(&mut self, name: &str) -> Option<T> {
        self.kept.remove(name).map(|kept| kept.thing)
    }

    fn age(&mut self, now: Instant) {
        let age = self.room.age;
        self.kept.retain(|_, kept| now.duration_since(kept.used) < age);
    }

    fn make_room(&mut self, but: &str, now: Instant) {
        let Room { count, bytes, .. } = self.room;
        self.age(now);
        loop {
            let all: usize = self.kept.values().map(|kept| kept.bytes).sum();
            if self.kept.len() <= count && all <= bytes {
                return;
            }
            let others = self.kept.iter().filter(|(name, _)| *name != but);
            let Some(name) = others.min_by_key(|(_, kept)| kept.used).map(|(name, _)| name.clone())
            else {
                return;
            };
            self.kept.remove(&name);
        }
    }
}

/// A name that nobody can guess.
pub(super) fn new_name() -> Result<String, UsersError> {
    let bytes: [u8; 16] = random()?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_goes_first() {
        let room = Room { count: 3, bytes: 100, age: Duration::from_secs(60) };
        let (mut held, begun) = (Held::new(room), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for (thing, name) in ["a", "b", "c"].into_iter().enumerate() {
            held.keep(name, thing, 10, at(thing as u64));
        }
        assert_eq!(held.get("a", at(3)), Some(&mut 0));
        held.keep("d", 3, 10, at(4));
        assert_eq!(held.get("b", at(5)), None, "used the longest time ago");
        held.resize("d", 85, at(6));
        assert_eq!(held.get("c", at(7)), None);
        assert_eq!(held.get("a", at(8)), Some(&mut 0));
        assert_eq!(held.forget("d"), Some(3));
        assert_eq!(held.get("d", at(9)), None);
        assert_eq!(held.get("a", at(68)), None);
    }
}
