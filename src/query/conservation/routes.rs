//! Which keys a device's points have in telemetry, by the documents of the log so far.

use crate::catalog::{self, AssetTypeEntry, Catalog, Conversion, DeviceType};
use crate::model::{Batch, DataType, Document, METRICS_FROM};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType as Arrow, Float64Type, Int64Type, Schema};
use hashbrown::HashMap;
use std::sync::Arc;

/// From here on a float does not tell whole numbers apart.
const INTEGERS_EXACT_TO: f64 = 9_007_199_254_740_992.0;

/// The catalog as of one epoch.
#[derive(Default)]
pub(super) struct Routes(Catalog);

/// One column of a batch that feeds a metric of an asset.
#[derive(Clone)]
pub(super) struct Feed {
    pub asset: Arc<str>,
    pub metric: Arc<str>,
    pub column: usize,
    take: Take,
}

/// Which values become points.
#[derive(Clone, Copy)]
enum Take {
    All,
    Finite(Conversion),
    Whole(Conversion),
}

impl Routes {
    /// Takes the documents of the next frame. The error says which does not follow.
    pub fn learn(&mut self, documents: &[Document]) -> Result<(), String> {
        for document in documents {
            self.0.apply(document).map_err(|problems| {
                let what = problems.first().map(ToString::to_string).unwrap_or_default();
                format!(
                    "the log does not reach back to the first version of {} '{}': {what}",
                    document.kind, document.key
                )
            })?;
        }
        Ok(())
    }

    /// What the device's columns of a batch feed.
    fn feeds(&self, device: &str, schema: &Schema) -> Vec<Feed> {
        let mut feeds = Vec::new();
        for link in self.0.links_of(device) {
            let Some(sender) = self.0.device(link.device) else { continue };
            let Some(asset) = self.0.asset(link.asset) else { continue };
            let Some(asset_type) = self.0.asset_type(asset.asset_type) else { continue };
            push_feeds(&asset.key, asset_type, &sender.device_type.document, schema, &mut feeds);
        }
        feeds
    }

    /// Calls `point` with the row of each point of a batch, its column and what the column feeds.
    pub fn points(&self, batch: &Batch, mut point: impl FnMut(usize, usize, &[Feed])) {
        let (rows, devices) = (batch.rows(), batch.devices());
        let columns = rows.num_columns();
        let mut known: HashMap<&str, Vec<Vec<Feed>>> = HashMap::new();
        for row in 0..batch.len() {
            let device = devices.value(row);
            let by_column = known.entry(device).or_insert_with(|| {
                let mut by_column = vec![Vec::new(); columns];
                for feed in self.feeds(device, rows.schema_ref()) {
                    by_column[feed.column].push(feed);
                }
                by_column
            });
            for (column, feeds) in by_column.iter().enumerate().skip(METRICS_FROM) {
                if rows.column(column).is_valid(row) {
                    point(row, column, feeds);
                }
            }
        }
    }
}

fn push_feeds(
    asset: &Arc<str>,
    asset_type: &AssetTypeEntry,
    sender: &DeviceType,
    schema: &Schema,
    feeds: &mut Vec<Feed>,
) {
    let mappings = &asset_type.document.transformation_engine.mappings;
    for metric in &asset_type.layout.slots[..asset_type.layout.measured] {
        let mapping = mappings.iter().find(|mapping| mapping.target == metric.name);
        let source = mapping.map_or(metric.name.as_str(), |mapping| mapping.source.as_str());
        let fields = schema.fields().iter().enumerate().skip(METRICS_FROM);
        let Some((column, field)) = fields.clone().find(|(_, field)| field.name() == source) else {
            continue;
        };
        let unit = mapping.and_then(|mapping| mapping.from_unit.as_deref());
        let conversion = match (unit.or(sender.unit_of(source)), metric.unit.as_deref()) {
            (Some(from), Some(to)) => catalog::convert(from, to).ok(),
            _ => Some(Conversion::IDENTITY),
        };
        let Some(conversion) = conversion else { continue };
        let take = match (field.data_type(), metric.data_type) {
            (Arrow::Float64 | Arrow::Int64, DataType::Double) => Take::Finite(conversion),
            (Arrow::Int64, DataType::Integer) if conversion == Conversion::IDENTITY => Take::All,
            (Arrow::Float64 | Arrow::Int64, DataType::Integer) => Take::Whole(conversion),
            (Arrow::Boolean, DataType::Bool) | (Arrow::Utf8, DataType::String) => Take::All,
            _ => continue,
        };
        let (asset, metric) = (Arc::clone(asset), metric.name.as_str().into());
        feeds.push(Feed { asset, metric, column, take });
    }
}

impl Feed {
    /// Whether the value can be one of the metric.
    pub fn takes(&self, column: &ArrayRef, row: usize) -> bool {
        let number = || match column.data_type() {
            Arrow::Int64 => column.as_primitive::<Int64Type>().value(row) as f64,
            _ => column.as_primitive::<Float64Type>().value(row),
        };
        match self.take {
            Take::All => true,
            Take::Finite(conversion) => conversion.apply(number()).is_finite(),
            // What a conversion makes of a number is rounded, a number as it came must be whole.
            Take::Whole(conversion) => {
                let converted = conversion.apply(number());
                let exact = conversion == Conversion::IDENTITY;
                let number = if exact { converted } else { converted.round() };
                number.fract() == 0.0 && number.abs() < INTEGERS_EXACT_TO
            }
        }
    }
}
