//! The catalog as views: the current version of every document.

use super::cell::Cell;
use super::small::{Collection, Row, SmallView};
use crate::model::{Document, Kind};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// The current documents of one kind.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Documents {
    #[serde(skip)]
    current: HashMap<Arc<str>, Document>,
    rows: Collection<Document>,
}

impl Documents {
    /// Takes in one change. A new version replaces the old one and a document without a body
    /// deletes it, whether or not the old version is retracted as well.
    pub fn update(&mut self, document: &Document, diff: i64) {
        let current = self.current.get(&document.key).cloned();
        let replaces = match (&current, diff < 0) {
            (Some(current), true) => {
                (current.id, current.version) == (document.id, document.version)
            }
            (Some(current), false) => {
                (document.id, document.version) > (current.id, current.version)
            }
            (None, gone) => !gone,
        };
        if !replaces {
            return;
        }
        if let Some(current) = current {
            self.current.remove(&document.key);
            self.rows.update(current, -1);
        }
        if diff > 0 && document.body.is_some() {
            self.current.insert(Arc::clone(&document.key), document.clone());
            self.rows.update(document.clone(), 1);
        }
    }

    /// Finds documents by their keys again, after they were read back.
    pub fn index(&mut self) {
        let rows = self.rows.entries().map(|(row, _)| row);
        self.current = rows.map(|row| (Arc::clone(&row.key), row.clone())).collect();
    }

    pub fn rows(&self) -> &dyn SmallView {
        &self.rows
    }

    pub fn rows_mut(&mut self) -> &mut dyn SmallView {
        &mut self.rows
    }
}

impl Row for Document {
    // A document of an asset, a device or a link, of which there are many.
    const OWN_TEXT: usize = 128;

    fn cells(&self) -> Vec<Cell<'_>> {
        let body = self.body.as_deref().unwrap_or("null");
        let fields: Value = match self.kind {
            Kind::AssetTypes | Kind::DeviceTypes => Value::Null,
            Kind::Assets | Kind::Devices | Kind::Links => {
                serde_json::from_str(body).unwrap_or_default()
            }
        };
        let field = |name: &str| match fields.get(name).and_then(Value::as_str) {
            Some(text) => Cell::Text(Cow::Owned(text.to_owned())),
            None => Cell::Null,
        };
        let (key, id) = (Cell::text(&self.key), Cell::Int(self.id.into()));
        let version = Cell::Int(self.version.into());
        match self.kind {
            Kind::Assets => vec![key, id, field("asset_type"), version, field("display_name")],
            Kind::Devices => vec![key, id, field("device_type"), version, field("display_name")],
            Kind::Links => vec![key, id, field("device"), field("asset"), version],
            Kind::AssetTypes | Kind::DeviceTypes => vec![key, id, version, Cell::text(body)],
        }
    }
}
