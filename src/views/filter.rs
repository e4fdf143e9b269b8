//! Which rows of a view are wanted, and in which form their changes are told.

use super::error::Error;
use super::view::View;

/// Keeps the rows whose columns equal what is given; nothing given keeps all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The asset's key.
    pub asset: Option<String>,
    /// The asset type's key.
    pub asset_type: Option<String>,
    /// The metric's name.
    pub metric: Option<String>,
}

/// The form of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// Rows with a column `diff`: `1` for a row that came, `-1` for a row that went.
    #[default]
    Diff,
    /// Rows with a column `op`: `upsert` with the new row of a key, `delete` with the last one.
    Upsert,
}

impl Filter {
    /// Refuses a filter that speaks of columns that the view does not have.
    pub(super) fn check(&self, view: View) -> Result<(), Error> {
        for (filter, given) in
            [("asset", &self.asset), ("type", &self.asset_type), ("metric", &self.metric)]
        {
            if given.is_some() && view.filter_column(filter).is_none() {
                return Err(Error::Filter { view, filter });
            }
        }
        Ok(())
    }

    /// The columns of the view that are asked for, and what they must hold.
    pub(super) fn columns(&self, view: View) -> Vec<(usize, &str)> {
        [("asset", &self.asset), ("type", &self.asset_type), ("metric", &self.metric)]
            .into_iter()
            .filter_map(|(filter, given)| Some((view.filter_column(filter)?, given.as_deref()?)))
            .collect()
    }
}

impl Envelope {
    /// Reads `diff` or `upsert`; nothing given is `diff`.
    pub fn parse(name: Option<&str>) -> Result<Self, Error> {
        match name {
            None | Some("diff") => Ok(Self::Diff),
            Some("upsert") => Ok(Self::Upsert),
            Some(other) => Err(Error::Envelope(other.into())),
        }
    }
}
