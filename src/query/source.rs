//! Where tables come from: the room knows neither views nor engine, only these shapes.

use crate::model::{ArchiveFile, Epoch, Timestamp};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The contents of some views at one epoch.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The epoch.
    pub epoch: Epoch,
    /// The newest tick up to the epoch: how far time has passed for the views, with rows or
    /// without. `Timestamp::MIN` when there was none.
    pub clock: Timestamp,
    /// Keys of assets that were removed, each with the epoch at which it was last. Telemetry of
    /// earlier epochs is of the asset that was removed, not of one that has the key now.
    pub removed: HashMap<Arc<str>, Epoch>,
    /// The views, in the order asked for.
    pub views: Vec<ViewRows>,
}

/// The rows of one view.
#[derive(Clone, Debug, Default)]
pub struct ViewRows {
    /// Those in memory.
    pub batches: Vec<RecordBatch>,
    /// Those that are in files, when there are any.
    pub archived: Option<Archived>,
}

impl From<Vec<RecordBatch>> for ViewRows {
    /// All rows are in memory.
    fn from(batches: Vec<RecordBatch>) -> Self {
        Self { batches, archived: None }
    }
}

/// Rows of a view that are in files of the archive, with the view's columns and `epoch`.
#[derive(Clone, Debug)]
pub struct Archived {
    /// The files.
    pub files: Vec<ArchiveFile>,
    /// The column of which each file says the first and the last value.
    pub time: &'static str,
    /// What does not count: rows of files that are equal to a row of one of these batches in all its
    /// columns but `before_epoch`, where null stands for any value, and whose epoch is before that.
    pub but: Vec<RecordBatch>,
}

/// An asset type as the columns of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeShape {
    /// The key of the type, and the name of the table.
    pub key: String,
    /// The metrics that are measured, in order.
    pub columns: Vec<(String, WideColumn)>,
}

/// What the values of a metric are in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WideColumn {
    /// A double or an integer.
    Number,
    /// True or false.
    Bool,
    /// A text.
    Text,
}

/// The live views.
pub trait ViewSource: Send + Sync {
    /// Names and columns of all views.
    fn list(&self) -> Vec<(String, SchemaRef)>;
    /// The asset types, each of which is a table too, unless a view has its name.
    fn types(&self) -> Vec<TypeShape> {
        Vec::new()
    }
    /// The contents of these views, all at one epoch; with no names just the epoch. The error
    /// says what failed.
    fn snapshot(&self, names: &[&str]) -> Result<Contents, String>;
    /// Who tells views as they were. Without one only telemetry is known as it was.
    fn told_again(&self) -> Option<Arc<dyn ToldAgain>> {
        None
    }
}

/// Which rows of a view are wanted. More may come.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only those of these assets.
    pub assets: Option<BTreeSet<String>>,
    /// Only those of event times up to this one, microseconds.
    pub until: Option<i64>,
}

/// What comes of telling again.
pub enum Telling {
    /// Some rows.
    Rows(RecordBatch),
    /// Nothing yet, and about so many bytes are held meanwhile.
    Working(usize),
}

/// Views that are told again by the points that count, by the graph that tells the live ones.
pub trait ToldAgain: Send + Sync {
    /// Names and columns of those that nobody keeps: they are told whenever they are asked for.
    fn list(&self) -> Vec<(String, SchemaRef)>;
    /// Names of those that are kept too, but not as they were.
    fn kept(&self) -> Vec<String>;
    /// Tells a view as it was at a closed epoch. Blocks; `take` says whether to go on.
    ///
    /// The error says what failed.
    fn tell(
        &self,
        view: &str,
        as_of: Epoch,
        wanted: &Wanted,
        take: &mut dyn FnMut(Telling) -> Result<bool, String>,
    ) -> Result<(), String>;
}

/// Tables about the engine itself, named `millstream_*`.
pub trait SystemTables: Send + Sync {
    /// Names and columns of all tables.
    fn list(&self) -> Vec<(String, SchemaRef)>;
    /// The contents of these tables now.
    fn snapshot(&self, names: &[&str]) -> Result<Vec<Vec<RecordBatch>>, String>;
}

/// No system tables at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSystemTables;

impl SystemTables for NoSystemTables {
    fn list(&self) -> Vec<(String, SchemaRef)> {
        Vec::new()
    }

    fn snapshot(&self, _names: &[&str]) -> Result<Vec<Vec<RecordBatch>>, String> {
        Ok(Vec::new())
    }
}
