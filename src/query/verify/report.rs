//! What a verification found.

use crate::model::Epoch;
use std::fmt;

/// What was found at one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The epoch of both sides.
    pub epoch: Epoch,
    /// The number of points that were read back.
    pub points: u64,
    /// Views and what was found, in the order of the views.
    pub views: Vec<(String, Finding)>,
    /// What could not be compared, and why; whole sentences.
    pub notes: Vec<String>,
}

/// What was found of one view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The view is its query.
    Equal {
        /// The number of rows compared.
        rows: u64,
    },
    /// It is not.
    Different {
        /// The number of rows that differ.
        rows: u64,
        /// The first of them, at most ten.
        first: Vec<Difference>,
    },
    /// It could not be compared.
    NotCompared {
        /// Why.
        reason: String,
    },
}

/// A row that is not the same on both sides; `None` where it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As the view has it.
    pub view: Option<String>,
    /// As telemetry gives it.
    pub recomputed: Option<String>,
}

impl Report {
    /// Whether every view that was compared is equal, and all that were there could be compared.
    pub fn is_equal(&self) -> bool {
        self.views.iter().all(|(_, finding)| matches!(finding, Finding::Equal { .. }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "verified at epoch {}, {} points read back", self.epoch, self.points)?;
        for (view, finding) in &self.views {
            match finding {
                Finding::Equal { rows } => writeln!(f, "  {view}: equal, {rows} rows")?,
                Finding::NotCompared { reason } => writeln!(f, "  {view}: not compared: {reason}")?,
                Finding::Different { rows, first } => {
                    writeln!(f, "  {view}: DIFFERENT in {rows} rows, the first:")?;
                    for difference in first {
                        let show = |row: &Option<String>| row.clone().unwrap_or("(no row)".into());
                        writeln!(f, "    view       {}", show(&difference.view))?;
                        writeln!(f, "    recomputed {}", show(&difference.recomputed))?;
                    }
                }
            }
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}
