//! All tables that a query can name, and those that one does.

use super::database::Database;
use super::error::Error;
use super::source::{SystemTables, TypeShape, ViewSource};
use super::telemetry;
use super::wide;
use crate::historian::{self, Historian};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Everything that tables are made of.
#[derive(Clone)]
pub(super) struct Tables {
    pub views: Arc<dyn ViewSource>,
    pub system: Arc<dyn SystemTables>,
    pub historian: Arc<Historian>,
    /// The database behind the archive, where there is one.
    pub database: Option<Arc<dyn Database>>,
}

/// A table's name and columns.
pub(super) type Table = (String, SchemaRef);

/// The tables that there are now.
pub(super) struct Known {
    views: Vec<Table>,
    system: Vec<Table>,
    types: Vec<TypeShape>,
    told: Vec<Table>,
}

/// The tables that a query names.
#[derive(Default)]
pub(super) struct Named<'a> {
    pub views: Vec<&'a Table>,
    pub system: Vec<&'a Table>,
    pub types: Vec<&'a TypeShape>,
    /// Views that nobody keeps.
    pub told: Vec<&'a Table>,
    pub telemetry: bool,
}

impl Tables {
    /// The tables that there are now.
    pub fn known(&self) -> Known {
        let (views, system) = (self.views.list(), self.system.list());
        let told = self.views.told_again().map_or_else(Vec::new, |again| again.list());
        let is_taken = |name: &str| {
            name == telemetry::NAME
                || views.iter().chain(&system).chain(&told).any(|(known, _)| known == name)
        };
        let mut types = self.views.types();
        types.retain(|shape| !is_taken(&shape.key));
        Known { views, system, types, told }
    }
}

impl Named<'_> {
    /// Whether no table is named.
    pub fn is_empty(&self) -> bool {
        let views = self.views.is_empty() && self.told.is_empty() && self.system.is_empty();
        views && self.types.is_empty() && !self.telemetry
    }

    /// The view by which the tables of asset types know their assets, where one is named.
    pub fn assets<'a>(&self, known: &'a Known) -> Result<Option<&'a Table>, Error> {
        if self.types.is_empty() {
            return Ok(None);
        }
        known.view(wide::ASSETS).map(Some).ok_or_else(|| Error::failed("no view of assets"))
    }
}

impl Known {
    /// Names and columns of all of them.
    pub fn columns(&self) -> impl Iterator<Item = Table> {
        let telemetry = (telemetry::NAME.to_string(), historian::schema());
        let types = self.types.iter().map(|shape| (shape.key.clone(), wide::schema(shape)));
        self.views
            .iter()
            .chain(&self.system)
            .chain(&self.told)
            .cloned()
            .chain([telemetry])
            .chain(types)
    }

    /// The view with this name.
    pub fn view(&self, name: &str) -> Option<&Table> {
        self.views.iter().find(|(known, _)| known == name)
    }

    /// The tables with these names. The error says which is not there, and which one is like it.
    pub fn named(&self, names: &[String]) -> Result<Named<'_>, Error> {
        let mut named = Named::default();
        for name in names {
            let system = || self.system.iter().find(|(known, _)| known == name);
            if name == telemetry::NAME {
                named.telemetry = true;
            } else if let Some(view) = self.view(name) {
                named.views.push(view);
            } else if let Some(view) = self.told.iter().find(|(known, _)| known == name) {
                named.told.push(view);
            } else if let Some(table) = system() {
                named.system.push(table);
            } else if let Some(shape) = self.types.iter().find(|shape| shape.key == *name) {
                named.types.push(shape);
            } else {
                let known: Vec<String> = self.columns().map(|(name, _)| name).collect();
                return Err(Error::unknown_table(name, &known));
            }
        }
        Ok(named)
    }
}
