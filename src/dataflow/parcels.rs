//! What leaves a process: words of texts are numbers of one process only, so texts go along.

use super::capture::{Dated, Outlet};
use super::catalog::{News, NewsUpdate, read};
use super::cluster::Place;
use crate::catalog::Layout;
use crate::catalog::asset_type::AssetType;
use crate::model::{Change, DataType, Epoch, Output, Symbol, Table, TypeId};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use timely::Accountable;
use timely::communication::Push;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{ProbeHandle, StreamVec};

/// Which slots of an asset type hold texts: the measured ones first, then the derived ones.
#[derive(Clone, Debug, PartialEq)]
struct Slots {
    measured: Option<Arc<[u32]>>,
    all: Option<Arc<[u32]>>,
}

/// Which slots hold texts, of every type and at every epoch. Clones at one worker share it.
#[derive(Clone, Default)]
pub struct Texts(Rc<RefCell<BTreeMap<TypeId, Vec<(u64, Slots)>>>>);

impl Texts {
    /// Learns from the news as they pass by: whoever has an epoch's news behind this can ask.
    pub fn watch<'scope>(
        &self,
        news: StreamVec<'scope, u64, NewsUpdate>,
    ) -> StreamVec<'scope, u64, NewsUpdate> {
        let texts = self.clone();
        news.unary::<CapacityContainerBuilder<Vec<NewsUpdate>>, _, _, _>(
            Pipeline,
            "Texts",
            move |_, _| {
                move |input, output| {
                    input.for_each(|capability, updates| {
                        updates.iter().for_each(|update| texts.learn(update));
                        output.session(&capability).give_container(updates);
                    });
                }
            },
        )
    }

    fn learn(&self, (news, epoch, diff): &NewsUpdate) {
        let News::AssetType(document) = news else { return };
        let Some(body) = read::<AssetType>(document).filter(|_| *diff > 0) else { return };
        let layout = Layout::of(&body);
        let of = |slots: usize| {
            let texts = (0..slots).filter(|i| layout.slots[*i].data_type == DataType::String);
            let texts: Vec<u32> = texts.map(|i| i as u32).collect();
            (!texts.is_empty()).then(|| texts.into())
        };
        let slots = Slots { measured: of(layout.measured), all: of(layout.slots.len()) };
        let mut types = self.0.borrow_mut();
        let versions = types.entry(TypeId(document.id)).or_default();
        let at = versions.partition_point(|(from, _)| from <= epoch);
        versions.insert(at, (*epoch, slots));
    }

    /// The measured slots with texts of a type's rows at an epoch; `None` where there are none.
    pub fn measured(&self, asset_type: TypeId, epoch: u64) -> Option<Arc<[u32]>> {
        self.at(asset_type, epoch, |slots| slots.measured.clone())
    }

    fn all(&self, asset_type: TypeId, epoch: u64) -> Option<Arc<[u32]>> {
        self.at(asset_type, epoch, |slots| slots.all.clone())
    }

    fn at<T>(&self, id: TypeId, epoch: u64, of: impl Fn(&Slots) -> Option<T>) -> Option<T> {
        let types = self.0.borrow();
        let version = types.get(&id)?.iter().rev().find(|(from, _)| *from <= epoch)?;
        of(&version.1)
    }

    /// Where texts are in a change.
    fn of(&self, epoch: u64, change: &Change) -> Option<Arc<[u32]>> {
        match change {
            Change::Telemetry(rows) => self.measured(rows.asset_type?, epoch),
            Change::Upserts(rows) if rows.table == Table::Latest => {
                self.all(rows.asset_type, epoch)
            }
            _ => None,
        }
    }
}

/// Calls with every word of a text: `slots` words a row, and which of them there are.
pub fn each_text(
    words: &mut [u64],
    slots: usize,
    texts: &[u32],
    is_there: impl Fn(usize, usize) -> bool,
    mut call: impl FnMut(&mut u64),
) {
    if slots == 0 {
        return;
    }
    for (i, row) in words.chunks_mut(slots).enumerate() {
        for slot in texts.iter().map(|slot| *slot as usize) {
            if is_there(i, slot)
                && let Some(word) = row.get_mut(slot)
            {
                call(word);
            }
        }
    }
}

fn each_text_of(change: &mut Change, texts: &[u32], call: impl FnMut(&mut u64)) {
    match change {
        Change::Telemetry(rows) => {
            let masks = crate::model::mask_words(rows.slots);
            let fresh = &rows.fresh;
            let is_there = |i: usize, slot: usize| fresh[i * masks + slot / 64] >> (slot % 64) & 1;
            each_text(&mut rows.words, rows.slots, texts, |i, slot| is_there(i, slot) == 1, call);
        }
        Change::Upserts(rows) => {
            // Value, time and quality of each metric; without a time there is no value.
            let stride = rows.stride;
            let times: Vec<u32> = texts.iter().map(|slot| slot * 3 + 1).collect();
            let mut call = call;
            for row in rows.words.chunks_mut(stride.max(1)) {
                for time in times.iter().map(|time| *time as usize) {
                    if row.get(time).is_some_and(|word| *word as i64 != i64::MIN) {
                        call(&mut row[time - 1]);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Changes on their way to another process.
#[derive(Default, Serialize, Deserialize)]
struct Letter {
    changes: Vec<Dated>,
    /// By the index of the change: where texts are in it.
    texts: Vec<(usize, Arc<[u32]>)>,
    /// The texts of those words.
    symbols: Vec<(u64, Arc<str>)>,
}

impl Letter {
    fn new(mut changes: Vec<Dated>, texts: &Texts) -> Self {
        let (mut places, mut known) = (Vec::new(), BTreeMap::new());
        for (i, (epoch, change)) in changes.iter_mut().enumerate() {
            let Some(slots) = texts.of(*epoch, change) else { continue };
            each_text_of(change, &slots, |word| {
                known.entry(*word).or_insert_with_key(|word| Symbol::known(*word));
            });
            places.push((i, slots));
        }
        let symbols = known.into_iter().filter_map(|(word, text)| Some((word, text?))).collect();
        Self { changes, texts: places, symbols }
    }

    /// The changes, in the words of this process.
    fn open(mut self) -> Vec<Dated> {
        let words = own_words(&self.symbols);
        for (i, slots) in &self.texts {
            if let Some((_, change)) = self.changes.get_mut(*i) {
                each_text_of(change, slots, |word| *word = words.get(word).copied().unwrap_or(0));
            }
        }
        self.changes
    }
}

/// This process's words for those of another.
pub fn own_words(symbols: &[(u64, Arc<str>)]) -> HashMap<u64, u64> {
    symbols.iter().map(|(word, text)| (*word, u64::from(Symbol::of(text).0))).collect()
}

/// Letters with the number of the process that each goes to.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parcels(Vec<(u32, Arc<[u8]>)>);

impl Accountable for Parcels {
    fn record_count(&self) -> i64 {
        self.0.len() as i64
    }
}

/// For each letter two words, the process and the length, then its bytes; padded to 8 bytes.
impl ContainerBytes for Parcels {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        let (mut rest, mut letters) = (&bytes[..], Vec::new());
        while let Some((head, tail)) = rest.split_first_chunk::<16>() {
            let word = u128::from_le_bytes(*head);
            let (process, length) = (word as u32, (word >> 64) as usize);
            letters.push((process, Arc::from(&tail[..length])));
            rest = &tail[length.next_multiple_of(8)..];
        }
        Self(letters)
    }

    fn length_in_bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| 16 + bytes.len().next_multiple_of(8)).sum()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        for (process, bytes) in &self.0 {
            let head = u128::from(*process) | (bytes.len() as u128) << 64;
            let padding = [0; 8];
            let padding = &padding[..bytes.len().next_multiple_of(8) - bytes.len()];
            for part in [&head.to_le_bytes(), &bytes[..], padding] {
                writer.write_all(part).expect("the channel takes what it asked for");
            }
        }
    }
}

/// Sends each letter to the first worker of its process.
struct ToProcess(Place);

impl Distributor<Parcels> for ToProcess {
    fn partition<T: Clone, P: Push<Message<T, Parcels>>>(
        &mut self,
        container: &mut Parcels,
        time: &T,
        pushers: &mut [P],
    ) {
        for (process, bytes) in std::mem::take(container).0 {
            let pusher = &mut pushers[process as usize * self.0.workers];
            Message::push_at(&mut Parcels(vec![(process, bytes)]), time.clone(), pusher);
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Parcels>>>(&mut self, _: &T, _: &mut [P]) {}
}

/// [`super::capture::capture`] for one process of several: what happens at any worker leaves at
/// every process.
pub fn capture(
    changes: StreamVec<'_, u64, Dated>,
    texts: Texts,
    outlet: Outlet,
    place: Place,
) -> ProbeHandle<u64> {
    let own = outlet.clone();
    let parcels = changes.unary::<NoopBuilder<Parcels>, _, _, _>(Pipeline, "Capture", |_, _| {
        move |input, output| {
            input.for_each(|capability, changes| {
                let letter = Letter::new(std::mem::take(changes), &texts);
                let bytes = bincode::serialize(&letter).expect("writing to memory");
                let bytes: Arc<[u8]> = bytes.into();
                let others = (0..place.processes).filter(|process| *process != place.process);
                let letters = others.map(|process| (process as u32, Arc::clone(&bytes)));
                let mut session = output.session_with_builder(&capability);
                session.give_container(&mut Parcels(letters.collect()));
                hand_out(letter.changes, &own);
            });
        }
    });
    let told = parcels.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
        DistributorPact(move |_| ToProcess(place)),
        "Deliver",
        |_, _| {
            move |input, _output| {
                input.for_each(|_, parcels| {
                    for (_, bytes) in std::mem::take(parcels).0 {
                        let letter: Letter =
                            bincode::deserialize(&bytes).expect("a letter written above");
                        hand_out(letter.open(), &outlet);
                    }
                });
            }
        },
    );
    told.probe().0
}

fn hand_out(changes: Vec<Dated>, outlet: &Outlet) {
    changes
        .into_iter()
        .for_each(|(epoch, change)| outlet.send(Output::Change(Epoch(epoch), change)));
}
