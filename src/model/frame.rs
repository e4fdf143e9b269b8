//! A frame: what one commit of the log holds, and all that the dataflow ever reads.

use super::batch::Batch;
use super::edit::Edit;
use super::expiry::Expiry;
use super::page::Page;
use super::time::{Epoch, Timestamp};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Everything that became durable together and becomes visible together.
///
/// Order inside a frame: documents take effect before the batches; rows of one frame are ordered
/// by their message ordinal; edits come after all rows, in their own order, pages after edits, and
/// what expires at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The logical time of all that is in here.
    pub epoch: Epoch,
    /// The clock of the source: wall clock when live, the recording's time in a replay.
    pub tick: Timestamp,
    /// Catalog documents that were published or deleted.
    pub documents: Vec<Document>,
    /// Telemetry.
    pub batches: Vec<Batch>,
    /// Deletions and corrections of accepted points.
    pub edits: Vec<Edit>,
    /// Archived points of assets that have late ones waiting for them.
    pub pages: Vec<Page>,
    /// What was refused, with its raw bytes.
    pub dead_letters: Vec<DeadLetter>,
    /// Telemetry that is not kept any more.
    pub expiry: Option<Expiry>,
}

/// The kinds of catalog documents. The text forms are the folder names under `dataflows/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What the assets of a kind have in common.
    AssetTypes,
    /// What the devices of a kind send.
    DeviceTypes,
    /// One machine.
    Assets,
    /// One sender.
    Devices,
    /// Which device feeds which asset.
    Links,
}

/// One version of a catalog document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Document {
    /// What it describes.
    pub kind: Kind,
    /// Its name, unique inside the kind.
    pub key: Arc<str>,
    /// Its dense id inside the kind, given by the catalog, never reused.
    pub id: u32,
    /// 1 for the first version, then one more each time.
    pub version: u32,
    /// The event time from which it holds. Only of asset types: rows at this time and later are
    /// processed by this version, unless a later one holds there too. [`Timestamp::MIN`] for
    /// first versions and for everything else.
    pub effective_from: Timestamp,
    /// The document as canonical JSON; `None` deletes it.
    pub body: Option<Arc<str>>,
}

/// A catalog document as a user hands it in: the catalog gives it its id and version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewDocument {
    /// What it describes.
    pub kind: Kind,
    /// Its name, unique inside the kind.
    pub key: Arc<str>,
    /// The document as canonical JSON; `None` deletes it.
    pub body: Option<Arc<str>>,
}

/// Why something was refused. The text form is the code that users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The bytes are not what the format says.
    Syntax,
    /// The right format, the wrong shape: a field is missing or of another type.
    Schema,
    /// The timestamp cannot be read.
    Ts,
    /// The event time lies further in the future than the asset type allows.
    FutureTs,
    /// No such device, and none may be provisioned.
    UnknownDevice,
    /// The device's type has no such metric.
    UnknownMetric,
    /// The value is not of the metric's type, or is NaN or infinite.
    Value,
    /// Larger or deeper than a limit allows.
    Limit,
    /// The event time lies before what is kept of its asset.
    BeyondRetention,
}

/// Something that was refused, kept with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When a door took it.
    pub received_at: Timestamp,
    /// Which door: `http`, `mqtt`, `file:<name>`.
    pub source: Arc<str>,
    /// The device, when it could be told.
    pub device: Option<Arc<str>>,
    /// Why it was refused.
    pub reason: Reason,
    /// What exactly is wrong, and what to do.
    pub detail: Arc<str>,
    /// The refused element as it came, cut to the named limit of its door.
    #[serde(with = "crate::base::serial::bytes")]
    pub raw: Arc<[u8]>,
}

impl Frame {
    /// A frame of nothing, not even a tick, which no log holds: it only says that no other frame
    /// of this process will have this epoch or an earlier one.
    pub fn pass(epoch: Epoch) -> Self {
        let (documents, batches, dead_letters) = (Vec::new(), Vec::new(), Vec::new());
        let (tick, edits, pages) = (Timestamp::MIN, Vec::new(), Vec::new());
        Self { epoch, tick, documents, batches, edits, pages, dead_letters, expiry: None }
    }

    /// About how many bytes it takes in memory. Buffers that batches share count for each.
    pub fn bytes(&self) -> usize {
        let batches = self.batches.iter().map(|batch| batch.rows().get_array_memory_size());
        let documents = self.documents.iter().map(Document::bytes);
        let letters = self.dead_letters.iter().map(DeadLetter::bytes);
        let pages = self.pages.iter().map(Page::bytes);
        size_of::<Self>() + batches.chain(documents).chain(letters).chain(pages).sum::<usize>()
    }
}

impl Document {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.body.as_ref().map_or(0, |body| body.len())
    }
}

impl DeadLetter {
    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.raw.len() + self.detail.len()
    }
}

impl Kind {
    /// All kinds, referenced ones first: types before assets and devices, links last.
    pub const ALL: [Self; 5] =
        [Self::AssetTypes, Self::DeviceTypes, Self::Assets, Self::Devices, Self::Links];

    /// The folder and path name: `asset_types`, `device_types`, `assets`, `devices`, `links`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AssetTypes => "asset_types",
            Self::DeviceTypes => "device_types",
            Self::Assets => "assets",
            Self::Devices => "devices",
            Self::Links => "links",
        }
    }

    /// The kind with this folder name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Reason {
    /// The code that users see.
    pub fn code(self) -> &'static str {
        match self {
            Self::Syntax => "SYNTAX",
            Self::Schema => "SCHEMA",
            Self::Ts => "TS",
            Self::FutureTs => "FUTURE_TS",
            Self::UnknownDevice => "UNKNOWN_DEVICE",
            Self::UnknownMetric => "UNKNOWN_METRIC",
            Self::Value => "VALUE",
            Self::Limit => "LIMIT",
            Self::BeyondRetention => "BEYOND_RETENTION",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
