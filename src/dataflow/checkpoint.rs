//! The states of the assets on their way out of the workers, and dealt to workers again.
//!
//! A saved state is a run of records, each with a header of three words: what it is, of which type
//! and asset or version, and how many bytes follow. Records stand for themselves, so that the pieces of
//! several workers may lie in any order, and a reader skips the assets of others.

use super::asset::{Era, Eras, Names, TypeState};
use super::cluster::Place;
use super::error::Error;
use super::shared::Shared;
use crate::model::{Epoch, TypeId};
use crossbeam_channel::Sender;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// About how many bytes a worker saves before the others have their turn.
pub const PIECE_BYTES: usize = 1 << 20;

/// Pieces that may wait. Beyond that a worker saves only what is about to change.
const PIECES_WAITING: usize = 64;

/// A part of the state of one worker at an epoch.
#[derive(Debug)]
pub struct Piece {
    /// The epoch.
    pub epoch: Epoch,
    /// Any number of whole records.
    pub bytes: Vec<u8>,
    /// Whether it is the last one of its worker.
    pub last: bool,
}

/// Where an engine starts, and who takes the states that it hands out.
#[derive(Default)]
pub struct Checkpoints {
    /// The state to start from; nothing when left out.
    pub from: Option<Saved>,
    /// Gets the pieces of every state that was asked for. Not bounded: pieces wait in memory.
    pub pieces: Option<Sender<Piece>>,
}

/// Asks an engine for its state.
#[derive(Clone)]
pub struct Marker(pub(super) Arc<Shared>);

/// The state of all assets after an epoch, dealt to workers.
pub struct Saved {
    /// The epoch.
    pub epoch: Epoch,
    pub(super) shares: Vec<Share>,
}

/// What one worker owns.
#[derive(Default)]
pub struct Share {
    /// Keys of its assets.
    pub names: Names,
    /// Its assets.
    pub types: BTreeMap<TypeId, TypeState>,
}

/// Where a worker learns that its state is wanted, and where it puts it.
pub struct Saver {
    pieces: Option<Sender<Piece>>,
    marks: VecDeque<Epoch>,
}

impl Marker {
    /// Asks for the state after an epoch, before the frame of that epoch is handed in. Every
    /// worker of every process hands out pieces of it, each a last one, while later frames are at
    /// work; with the changes of that epoch comes [`crate::model::Change::Marked`].
    pub fn at(&self, epoch: Epoch) {
        self.0.mark(epoch);
    }
}

impl Saver {
    pub fn new(pieces: Option<Sender<Piece>>) -> Self {
        Self { pieces, marks: VecDeque::new() }
    }

    /// The state after this epoch is wanted, which is not complete yet.
    pub fn mark(&mut self, epoch: Epoch) {
        if self.pieces.is_some() {
            self.marks.push_back(epoch);
        }
    }

    /// The next epoch whose state is wanted, when that is what the state is at.
    pub fn due(&mut self, is_now: impl FnOnce(Epoch) -> bool) -> Option<Epoch> {
        self.marks.pop_front_if(|epoch| is_now(*epoch))
    }

    /// Whether so many pieces wait that there is no hurry.
    pub fn is_full(&self) -> bool {
        self.pieces.as_ref().is_some_and(|pieces| pieces.len() >= PIECES_WAITING)
    }

    pub fn put(&self, piece: Piece) {
        if let Some(pieces) = &self.pieces {
            // Who does not want it any more does not get it.
            let _ = pieces.send(piece);
        }
    }
}

const NAME: u64 = 1;
const ERA: u64 = 2;
const TYPE: u64 = 3;
const ASSET: u64 = 4;
const HEADER: usize = 24;

/// Appends a record: its contents first, then the header in front of them. The contents say of
/// which asset or version they are; nothing is appended when they say that there is none.
fn record(
    out: &mut Vec<u8>,
    kind: u64,
    asset_type: TypeId,
    contents: impl FnOnce(&mut Vec<u8>) -> Option<u32>,
) -> bool {
    let at = out.len();
    out.resize(at + HEADER, 0);
    let Some(asset) = contents(out) else {
        out.truncate(at);
        return false;
    };
    let length = (out.len() - at - HEADER) as u64;
    let id = u64::from(asset_type.0) << 32 | u64::from(asset);
    for (place, word) in [kind, id, length].into_iter().enumerate() {
        out[at + place * 8..][..8].copy_from_slice(&word.to_le_bytes());
    }
    true
}

/// Appends the keys of assets.
pub fn put_names(out: &mut Vec<u8>, names: &Names) {
    for (asset, key) in names.all() {
        record(out, NAME, TypeId(0), |out| {
            out.extend_from_slice(key.as_bytes());
            Some(asset)
        });
    }
}

/// Appends what is known of a type beside its assets, and begins the save of those.
pub fn put_type(out: &mut Vec<u8>, id: TypeId, state: &mut TypeState) {
    for (version, era) in state.eras() {
        record(out, ERA, id, |out| {
            era.save(out);
            Some(version)
        });
    }
    record(out, TYPE, id, |out| {
        state.save_head(out);
        Some(0)
    });
    state.begin_save();
}

/// Appends the next asset of a type whose save has begun; false when there is none.
pub fn put_asset(out: &mut Vec<u8>, id: TypeId, state: &mut TypeState) -> bool {
    record(out, ASSET, id, |out| state.save_next(out))
}

impl Saved {
    /// Reads the bytes of all pieces of an epoch that one process has handed out, and deals the
    /// assets to its workers: any number of them, as long as there are as many processes.
    pub fn read(epoch: Epoch, bytes: &[u8], place: Place) -> Result<Self, Error> {
        let shares = std::thread::scope(|scope| {
            let own = place.first()..place.first() + place.workers;
            let threads: Vec<_> =
                own.map(|index| scope.spawn(move || share(bytes, index, place))).collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err("the thread that reads it panicked".into()))
            });
            joined.collect::<Result<Vec<_>, _>>()
        });
        Ok(Self { epoch, shares: shares.map_err(|what| Error::Saved { epoch, what })? })
    }
}

/// What one of several workers owns of the records.
fn share(mut bytes: &[u8], index: usize, place: Place) -> Result<Share, String> {
    let mut share = Share::default();
    let mut eras: BTreeMap<TypeId, Eras> = BTreeMap::new();
    while !bytes.is_empty() {
        let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
            return Err("it ends inside a record".into());
        };
        let (words, _) = header.as_chunks::<8>();
        let [kind, id, length] = [0, 1, 2].map(|place| u64::from_le_bytes(words[place]));
        let Some((contents, rest)) = rest.split_at_checked(length as usize) else {
            return Err("it ends inside a record".into());
        };
        bytes = rest;
        let (asset_type, asset) = (TypeId((id >> 32) as u32), id as u32);
        let text = |error: bincode::Error| error.to_string();
        let is_own = place.owner(asset) == index;
        match kind {
            NAME if is_own => {
                let key = std::str::from_utf8(contents).map_err(|error| error.to_string())?;
                share.names.insert(asset, key.into());
            }
            // Every worker that saved has told of the type and its eras.
            ERA => {
                if let Entry::Vacant(era) = eras.entry(asset_type).or_default().entry(asset) {
                    era.insert(Era::read(contents).map_err(text)?);
                }
            }
            TYPE if !share.types.contains_key(&asset_type) => {
                let eras = eras.entry(asset_type).or_default();
                let state = TypeState::read_head(contents, eras).map_err(text)?;
                share.types.insert(asset_type, state);
            }
            ASSET if is_own => {
                let state = share.types.get_mut(&asset_type).ok_or("an asset has no type")?;
                let eras = eras.entry(asset_type).or_default();
                state.restore(contents, eras).map_err(text)?;
            }
            NAME | TYPE | ASSET => {}
            kind => return Err(format!("records of kind {kind} are not known")),
        }
    }
    Ok(share)
}
