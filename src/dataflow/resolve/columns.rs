//! Which column of a batch becomes which slot, settled once for each schema and kind of route.

use super::directory::{Directory, Target};
use crate::catalog::{self, Conversion};
use crate::model::{DataType, METRICS_FROM, TypeId, mask_words};
use arrow::datatypes::{DataType as Arrow, Schema, SchemaRef};
use std::sync::Arc;

/// Schemas whose plans are remembered. At the limit all are forgotten and made again.
const SCHEMAS_CACHED: usize = 64;

/// How a column's values become a slot's words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Convert {
    /// A float in the metric's unit, or one that is converted.
    Double(Conversion),
    /// An integer that becomes a float.
    IntegerToDouble(Conversion),
    /// An integer as it is.
    Integer,
    /// A number that is converted and must become a whole one.
    ToInteger(Conversion),
    /// A bool.
    Bool,
    /// A text, which becomes a symbol.
    Text,
}

/// One slot and the column that it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Position in the batch.
    pub column: usize,
    /// Position in the row.
    pub slot: usize,
    /// How values change on the way.
    pub convert: Convert,
    /// Values outside are marked, in the metric's unit.
    pub range: Option<(f64, f64)>,
}

/// What one asset type takes from batches of one schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// The type.
    pub asset_type: TypeId,
    /// Number of its measured metrics.
    pub slots: usize,
    /// In the order of the slots.
    pub sources: Vec<Source>,
}

impl Columns {
    /// The mask of a row in which all sources have a point.
    pub fn mask(&self) -> Vec<u64> {
        let mut mask = vec![0; mask_words(self.slots)];
        for source in &self.sources {
            mask[source.slot / 64] |= 1 << (source.slot % 64);
        }
        mask
    }
}

/// What a device with routes of one shape gives of batches of one schema.
#[derive(Debug, Default)]
pub struct ShapePlan {
    /// For each route; `None` when its asset type is unknown.
    pub routes: Vec<Option<Columns>>,
    /// Metric columns that no route takes.
    pub unused: Vec<usize>,
}

/// The plans by schema and shape. Valid as long as the directory does not change.
#[derive(Debug, Default)]
pub struct PlanCache {
    schemas: Vec<(SchemaRef, Vec<Option<Arc<ShapePlan>>>)>,
}

impl PlanCache {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.schemas.clear();
    }

    /// The place of a schema, found by its address, else by its contents.
    pub fn schema(&mut self, schema: &SchemaRef) -> usize {
        let same = |known: &(SchemaRef, _)| Arc::ptr_eq(&known.0, schema);
        if let Some(place) = self.schemas.iter().position(same) {
            return place;
        }
        if let Some(place) = self.schemas.iter().position(|known| known.0 == *schema) {
            // The next batch has the address of this one, as a rule.
            self.schemas[place].0 = Arc::clone(schema);
            return place;
        }
        if self.schemas.len() == SCHEMAS_CACHED {
            self.schemas.clear();
        }
        self.schemas.push((Arc::clone(schema), Vec::new()));
        self.schemas.len() - 1
    }

    /// The plan for a schema's place and a shape's number.
    pub fn plan(&mut self, schema: usize, shape: u32, directory: &Directory) -> Arc<ShapePlan> {
        let (schema, plans) = &mut self.schemas[schema];
        let shape = shape as usize;
        if plans.len() <= shape {
            plans.resize(shape + 1, None);
        }
        let plan = plans[shape].get_or_insert_with(|| Arc::new(plan(schema, shape, directory)));
        Arc::clone(plan)
    }
}

fn plan(schema: &Schema, shape: usize, directory: &Directory) -> ShapePlan {
    let shape = &directory.shapes()[shape];
    let mut used = vec![false; schema.fields().len()];
    let mut routes = Vec::with_capacity(shape.len());
    for (device_type, asset_type) in shape {
        let unit = |metric: &str| directory.unit(device_type, metric);
        let columns = directory.target(asset_type).map(|target| columns(schema, target, unit));
        for source in columns.iter().flat_map(|columns| &columns.sources) {
            used[source.column] = true;
        }
        routes.push(columns);
    }
    let unused = (METRICS_FROM..used.len()).filter(|column| !used[*column]).collect();
    ShapePlan { routes, unused }
}

fn columns<'u>(
    schema: &Schema,
    target: &Target,
    unit: impl Fn(&str) -> Option<&'u str>,
) -> Columns {
    let fields = &schema.fields()[METRICS_FROM..];
    let measured = &target.layout.slots[..target.layout.measured];
    let mut sources = Vec::new();
    for (slot, metric) in measured.iter().enumerate() {
        let mapping = target.mappings.iter().find(|mapping| mapping.target == metric.name);
        let source = mapping.map_or(metric.name.as_str(), |mapping| mapping.source.as_str());
        let Some(place) = fields.iter().position(|field| field.name() == source) else { continue };
        // The asset type knows better than the device type: it says so only when they differ.
        let from = mapping.and_then(|mapping| mapping.from_unit.as_deref()).or(unit(source));
        let conversion = match (from, metric.unit.as_deref()) {
            // The catalog refuses units that do not fit; points without a unit that does would
            // be wrong numbers, so they count as unmapped.
            (Some(from), Some(to)) => catalog::convert(from, to).ok(),
            _ => Some(Conversion::IDENTITY),
        };
        let Some(conversion) = conversion else { continue };
        let Some(convert) = step(fields[place].data_type(), metric.data_type, conversion) else {
            continue;
        };
        let column = place + METRICS_FROM;
        sources.push(Source { column, slot, convert, range: metric.range });
    }
    Columns { asset_type: target.id, slots: measured.len(), sources }
}

/// `None` when a column of the one type cannot feed a metric of the other: such a metric has no
/// source in the batch, and the points count as unmapped.
fn step(from: &Arrow, to: DataType, conversion: Conversion) -> Option<Convert> {
    Some(match (from, to) {
        (Arrow::Float64, DataType::Double) => Convert::Double(conversion),
        (Arrow::Int64, DataType::Double) => Convert::IntegerToDouble(conversion),
        (Arrow::Int64, DataType::Integer) if conversion == Conversion::IDENTITY => Convert::Integer,
        (Arrow::Int64 | Arrow::Float64, DataType::Integer) => Convert::ToInteger(conversion),
        (Arrow::Boolean, DataType::Bool) => Convert::Bool,
        (Arrow::Utf8, DataType::String) => Convert::Text,
        _ => return None,
    })
}
