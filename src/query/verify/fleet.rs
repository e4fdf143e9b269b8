//! Views over many assets, recomputed by SQL.

use super::cell::{As, Shape};
use super::compare::Side;
use super::report::Finding;
use crate::query::error::Error;
use crate::query::limits::Limits;
use crate::query::past;
use crate::query::session::{self, Environment};
use crate::query::source::ViewRows;
use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use std::collections::HashMap;
use std::sync::Arc;

/// Views over many assets, by SQL over the views of single assets.
pub(super) const FLEET: [(&str, &str, Shape); 2] = [
    (
        past::FLEET[0].0,
        past::FLEET[0].1,
        Shape {
            columns: &[
                ("type", As::Text),
                ("band", As::Text),
                ("assets", As::Int),
                ("worst_score", As::Number),
            ],
            key: 2,
        },
    ),
    (
        past::FLEET[1].0,
        past::FLEET[1].1,
        Shape { columns: &[("rule", As::Text), ("level", As::Text), ("assets", As::Int)], key: 2 },
    ),
];

/// Compares one of [`FLEET`] with what the views of single assets say.
pub(super) async fn fleet(
    env: &Environment,
    limits: &Limits,
    sql: &str,
    shape: Shape,
    batches: &[RecordBatch],
    contents: &HashMap<&str, ViewRows>,
) -> Result<Finding, Error> {
    let failed = |error| Error::from_datafusion(&error);
    let context = session::empty(env, limits)?;
    for name in ["asset_health", "threshold_states"] {
        // A view without rows may come without batches, and then without columns.
        let rows = contents.get(name).map(|rows| &rows.batches);
        if let Some(batches) = rows.filter(|batches| !batches.is_empty()) {
            let table = MemTable::try_new(batches[0].schema(), vec![batches.clone()]);
            session::register(&context, name, Arc::new(table.map_err(failed)?))?;
        } else if sql.contains(name) {
            let mut side = match Side::new(shape, batches) {
                Ok(side) => side,
                Err(reason) => return Ok(Finding::NotCompared { reason }),
            };
            side.compare("", Vec::new());
            return Ok(side.finish());
        }
    }
    let recomputed = context.sql(sql).await.map_err(failed)?.collect().await.map_err(failed)?;
    let (mut side, expected) = match (Side::new(shape, batches), Side::rows(shape, &recomputed)) {
        (Ok(side), Ok(expected)) => (side, expected),
        (Err(reason), _) | (_, Err(reason)) => return Ok(Finding::NotCompared { reason }),
    };
    for (first, rows) in expected {
        side.compare(&first, rows);
    }
    Ok(side.finish())
}
