//! Batches and rows as timely containers: what a channel between workers carries, counted by row.

use super::cluster::Place;
use super::parcels::{each_text, own_words};
use crate::model::{Batch, Rows, Symbol, TypeId, mask_words};
use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use timely::Accountable;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};

/// Rows of devices; `None` only in the empty default value.
#[derive(Clone, Debug, Default)]
pub struct DeviceBatch(pub Option<Batch>);

/// Rows of the assets of one type.
///
/// The word of a text is a symbol of this process: the bytes, which only another process reads,
/// carry the texts along.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssetRows {
    /// The rows.
    pub rows: Rows,
    /// Which slots hold texts; only told where there are other processes.
    pub texts: Option<Arc<[u32]>>,
}

/// Sends each row to the worker that owns its asset.
pub struct ByAsset(pub Place);

impl Accountable for DeviceBatch {
    fn record_count(&self) -> i64 {
        self.0.as_ref().map_or(0, |batch| batch.len() as i64)
    }
}

impl Accountable for AssetRows {
    fn record_count(&self) -> i64 {
        self.rows.len() as i64
    }
}

/// One Arrow IPC stream, padded to 8 bytes.
impl ContainerBytes for DeviceBatch {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        if bytes.is_empty() {
            return Self(None);
        }
        let mut reader = StreamReader::try_new(&bytes[..], None).expect("a stream written below");
        let rows = reader.next().expect("one record batch").expect("a batch written below");
        Self(Some(Batch::try_new(rows).expect("columns of a batch")))
    }

    fn length_in_bytes(&self) -> usize {
        device_bytes(self).len()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        writer.write_all(&device_bytes(self)).expect("the channel takes what it asked for");
    }
}

fn device_bytes(batch: &DeviceBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(batch) = &batch.0 {
        let schema = batch.rows().schema();
        let mut writer = StreamWriter::try_new(&mut bytes, &schema).expect("writing to memory");
        writer.write(batch.rows()).expect("writing to memory");
        writer.finish().expect("writing to memory");
        drop(writer);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// Five header words (type + 1, slots, rows, slots with texts, texts), then the columns and the
/// slots with texts, then word, length and bytes of each text; all padded to 8 bytes.
impl ContainerBytes for AssetRows {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        let mut reader = Words(&bytes[..]);
        let header: Vec<u64> = reader.take(5);
        let (slots, length) = (header[1] as usize, header[2] as usize);
        let masks = mask_words(slots);
        let mut rows = Rows {
            asset_type: header[0].checked_sub(1).map(|id| TypeId(id as u32)),
            slots,
            assets: reader.take_small(length),
            devices: reader.take_small(length),
            times: reader.take(length).into_iter().map(|word| word as i64).collect(),
            messages: reader.take_small(length),
            fresh: reader.take(length * masks),
            quality: reader.take_small(length * slots),
            words: reader.take(length * slots),
        };
        let texts: Arc<[u32]> = reader.take_small(header[3] as usize).into();
        if texts.is_empty() {
            return Self { rows, texts: None };
        }
        let symbols: Vec<(u64, Arc<str>)> = (0..header[4])
            .map(|_| {
                let head = reader.take(2);
                let text = String::from_utf8_lossy(reader.bytes(head[1] as usize));
                (head[0], text.into())
            })
            .collect();
        let words = own_words(&symbols);
        let (fresh, all) = (&rows.fresh, &mut rows.words);
        let is_there = |i: usize, slot: usize| fresh[i * masks + slot / 64] >> (slot % 64) & 1;
        each_text(
            all,
            slots,
            &texts,
            |i, slot| is_there(i, slot) == 1,
            |word| {
                *word = words.get(word).copied().unwrap_or(0);
            },
        );
        Self { rows, texts: Some(texts) }
    }

    fn length_in_bytes(&self) -> usize {
        let rows = &self.rows;
        let small = |length: usize| (length * 4).next_multiple_of(8);
        let words = 5 + rows.times.len() + rows.fresh.len() + rows.words.len();
        let text = |text: &Arc<str>| 16 + text.len().next_multiple_of(8);
        let texts = small(self.text_slots().len());
        let texts = texts + self.symbols().values().map(text).sum::<usize>();
        8 * words + 3 * small(rows.len()) + small(rows.quality.len()) + texts
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let (rows, texts, symbols) = (&self.rows, self.text_slots(), self.symbols());
        let type_word = rows.asset_type.map_or(0, |id| u64::from(id.0) + 1);
        let counts = [rows.slots, rows.len(), texts.len(), symbols.len()].map(|count| count as u64);
        put(writer, &[type_word], |word| word.to_le_bytes());
        put(writer, &counts, |word| word.to_le_bytes());
        put(writer, &rows.assets, |id| id.to_le_bytes());
        put(writer, &rows.devices, |id| id.to_le_bytes());
        put(writer, &rows.times, |time| time.to_le_bytes());
        put(writer, &rows.messages, |ordinal| ordinal.to_le_bytes());
        put(writer, &rows.fresh, |mask| mask.to_le_bytes());
        put(writer, &rows.quality, |code| code.to_le_bytes());
        put(writer, &rows.words, |word| word.to_le_bytes());
        put(writer, texts, |slot| slot.to_le_bytes());
        for (word, text) in &symbols {
            put(writer, &[*word, text.len() as u64], |word| word.to_le_bytes());
            put(writer, text.as_bytes(), |byte| [*byte]);
        }
    }
}

impl AssetRows {
    fn text_slots(&self) -> &[u32] {
        self.texts.as_deref().unwrap_or_default()
    }

    /// The texts of all words that stand for one.
    fn symbols(&self) -> BTreeMap<u64, Arc<str>> {
        let (rows, mut symbols) = (&self.rows, BTreeMap::new());
        for slot in self.text_slots().iter().map(|slot| *slot as usize) {
            for i in 0..rows.len() {
                let word = rows.words(i)[slot];
                if rows.fresh(i)[slot / 64] >> (slot % 64) & 1 == 1
                    && !symbols.contains_key(&word)
                    && let Some(text) = Symbol::known(word)
                {
                    symbols.insert(word, text);
                }
            }
        }
        symbols
    }
}

/// Rows of one frame in the order of their messages, those of a message as they came. Devices of
/// different types have batches of their own: what they say of one asset at one time is settled by
/// who came last, wherever frames end.
pub fn by_message(rows: Rows) -> Rows {
    let Some(asset_type) = rows.asset_type.filter(|_| !rows.messages.is_sorted()) else {
        return rows;
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|i| rows.messages[*i]);
    let mut sorted = Rows::new(asset_type, rows.slots);
    order.into_iter().for_each(|i| sorted.push_row(&rows, i));
    sorted
}

fn put<T, const N: usize, W: Write>(writer: &mut W, values: &[T], bytes: fn(&T) -> [u8; N]) {
    let mut buffer = Vec::with_capacity((values.len() * N).next_multiple_of(8));
    for value in values {
        buffer.extend_from_slice(&bytes(value));
    }
    buffer.resize(buffer.len().next_multiple_of(8), 0);
    writer.write_all(&buffer).expect("the channel takes what it asked for");
}

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn bytes(&mut self, length: usize) -> &[u8] {
        let (head, tail) = self.0.split_at(length.next_multiple_of(8));
        self.0 = tail;
        &head[..length]
    }

    fn take(&mut self, count: usize) -> Vec<u64> {
        let (words, _) = self.bytes(count * 8).as_chunks::<8>();
        words.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }

    fn take_small(&mut self, count: usize) -> Vec<u32> {
        let (words, _) = self.bytes(count * 4).as_chunks::<4>();
        words.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }
}

impl Distributor<AssetRows> for ByAsset {
    fn partition<T: Clone, P: Push<Message<T, AssetRows>>>(
        &mut self,
        container: &mut AssetRows,
        time: &T,
        pushers: &mut [P],
    ) {
        let AssetRows { rows, texts } = std::mem::take(container);
        let Some(asset_type) = rows.asset_type else { return };
        let peers = pushers.len();
        let mut parts = Vec::with_capacity(peers);
        for _ in 0..peers {
            let mut part = Rows::new(asset_type, rows.slots);
            part.words.reserve(rows.words.len() / peers);
            part.quality.reserve(rows.quality.len() / peers);
            parts.push(part);
        }
        for i in 0..rows.len() {
            parts[self.0.owner(rows.assets[i])].push_row(&rows, i);
        }
        for (part, pusher) in parts.into_iter().zip(pushers) {
            if !part.is_empty() {
                let mut part = AssetRows { rows: part, texts: texts.clone() };
                Message::push_at(&mut part, time.clone(), pusher);
            }
        }
    }

    fn flush<T: Clone, P: Push<Message<T, AssetRows>>>(&mut self, _: &T, _: &mut [P]) {}
}

/// Puts the rows of `more`, of the same type and number of slots, behind those of `rows`.
pub fn append(rows: &mut Rows, more: &Rows) {
    debug_assert_eq!((rows.asset_type, rows.slots), (more.asset_type, more.slots));
    rows.assets.extend_from_slice(&more.assets);
    rows.devices.extend_from_slice(&more.devices);
    rows.times.extend_from_slice(&more.times);
    rows.messages.extend_from_slice(&more.messages);
    rows.fresh.extend_from_slice(&more.fresh);
    rows.quality.extend_from_slice(&more.quality);
    rows.words.extend_from_slice(&more.words);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DataType;
    use timely::bytes::arc::BytesMut;

    fn bytes_of(container: &impl ContainerBytes) -> timely::bytes::arc::Bytes {
        let mut buffer = Vec::new();
        container.into_bytes(&mut buffer);
        assert_eq!(buffer.len(), container.length_in_bytes());
        assert_eq!(buffer.len() % 8, 0);
        BytesMut::from(buffer).freeze()
    }

    fn rows(slots: usize, length: u32) -> Rows {
        let mut rows = Rows::new(TypeId(7), slots);
        for i in 0..length {
            rows.assets.push(i * 3);
            rows.devices.push(i);
            rows.times.push(-i64::from(i));
            rows.messages.push(i / 2);
            rows.fresh.extend((0..crate::model::mask_words(slots)).map(|_| u64::from(i)));
            rows.quality.extend((0..slots).map(|slot| i + slot as u32));
            rows.words.extend((0..slots).map(|slot| u64::MAX - slot as u64));
        }
        rows
    }

    #[test]
    fn asset_rows_survive_their_bytes() {
        for (slots, length) in [(0, 0), (1, 1), (3, 5), (70, 3)] {
            let rows = AssetRows { rows: rows(slots, length), texts: None };
            assert_eq!(AssetRows::from_bytes(bytes_of(&rows)), rows, "{slots} {length}");
        }
        assert_eq!(AssetRows::from_bytes(bytes_of(&AssetRows::default())), AssetRows::default());
    }

    #[test]
    fn texts_go_along_with_the_rows() {
        let mut rows = rows(3, 2);
        rows.fresh = vec![0b011, 0b100];
        // Their numbers are greater than all others in the bytes.
        let texts = (0..1_002).map(|i| Symbol::of(&format!("state {i}")).0);
        let words: Vec<u64> = texts.skip(1_000).map(u64::from).collect();
        rows.words = vec![1, words[0], 0, 0, 0, words[1]];
        let texts: Arc<[u32]> = [1, 2].into();
        let rows = AssetRows { rows, texts: Some(texts) };
        assert_eq!(AssetRows::from_bytes(bytes_of(&rows)), rows);
        // Another process has other numbers for them.
        let mut bytes = Vec::new();
        rows.into_bytes(&mut bytes);
        for word in words {
            let (old, new) = (word.to_le_bytes(), (word + 1_000_000).to_le_bytes());
            let at: Vec<usize> = (0..bytes.len()).step_by(8).collect();
            at.into_iter()
                .filter(|at| bytes[*at..][..8] == old)
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|at| bytes[at..][..8].copy_from_slice(&new));
        }
        let read = AssetRows::from_bytes(BytesMut::from(bytes).freeze());
        assert_eq!(read.rows.words[1], rows.rows.words[1]);
        assert_eq!(read.rows.words[5], rows.rows.words[5]);
    }

    #[test]
    fn device_batches_survive_their_bytes() {
        assert!(DeviceBatch::from_bytes(bytes_of(&DeviceBatch::default())).0.is_none());
        let batch = crate::dataflow::tests::batch(&[("p", DataType::Double)], &[("d", 1, 0, &[])]);
        let container = DeviceBatch(Some(batch));
        assert_eq!(DeviceBatch::from_bytes(bytes_of(&container)).0, container.0);
    }

    #[test]
    fn partition_keeps_every_row_and_puts_it_at_its_owner() {
        struct Taken(Vec<Rows>);
        impl Push<Message<u64, AssetRows>> for Taken {
            fn push(&mut self, element: &mut Option<Message<u64, AssetRows>>) {
                self.0.extend(element.take().map(|message| message.data.rows));
            }
        }
        let mut pushers = [Taken(Vec::new()), Taken(Vec::new()), Taken(Vec::new())];
        let mut all = rows(2, 10);
        all.assets = (0..10).map(|i| i * i).collect();
        let mut all = AssetRows { rows: all, texts: None };
        ByAsset(Place::alone(3)).partition(&mut all, &5, &mut pushers);
        let mut count = 0;
        for (index, pusher) in pushers.iter().enumerate() {
            for part in &pusher.0 {
                count += part.len();
                assert!(part.assets.iter().all(|asset| *asset as usize % 3 == index));
                assert_eq!(part.words.len(), part.len() * 2);
            }
        }
        assert_eq!(count, 10);
    }
}
