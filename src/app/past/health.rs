//! How the health of assets went: a row where a score is another than before.

use crate::catalog::asset_type::AssetType;
use crate::health::{Algorithm, Band, band};
use crate::model::Document;
use arrow::array::{
    ArrayRef, Float64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The columns of the view.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("asset", DataType::Utf8, false),
            Field::new("asset_type", DataType::Utf8, false),
            Field::new("event_time", time, false),
            Field::new("score", DataType::Float64, true),
            Field::new("band", DataType::Utf8, true),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// Collects the rows.
#[derive(Default)]
pub struct Course {
    keys: HashMap<u32, Arc<str>>,
    asset_type: Arc<str>,
    bands: Vec<Band>,
    /// The score of each asset as it was told last.
    last: HashMap<u32, u64>,
    assets: StringBuilder,
    types: StringBuilder,
    times: TimestampMicrosecondBuilder,
    scores: Float64Builder,
    names: StringBuilder,
}

impl Course {
    /// That of these assets, each by its id with its key.
    pub fn of(assets: impl Iterator<Item = (u32, Arc<str>)>) -> Self {
        Self { keys: assets.collect(), ..Self::default() }
    }

    /// A version of the type's document takes effect: its bands may have other borders.
    pub fn read_bands(&mut self, document: &Document) {
        self.asset_type = Arc::clone(&document.key);
        let body = document.body.as_deref().unwrap_or_default();
        let algorithm = serde_json::from_str::<AssetType>(body).ok();
        let algorithm = algorithm.and_then(|body| body.health_algorithm);
        self.bands = algorithm.as_ref().map(Algorithm::bands).unwrap_or_default();
        self.last.clear();
    }

    /// Notes scores that differ from those before: asset, event time and score; NaN is unknown.
    pub fn note(&mut self, scores: impl Iterator<Item = (u32, i64, f64)>) {
        for (asset, time, score) in scores {
            let Some(key) = self.keys.get(&asset) else { continue };
            if self.last.insert(asset, score.to_bits()) == Some(score.to_bits()) {
                continue;
            }
            let known = (!score.is_nan()).then_some(score);
            self.assets.append_value(key);
            self.types.append_value(&self.asset_type);
            self.times.append_value(time);
            self.scores.append_option(known);
            let band = known.and_then(|score| band(&self.bands, score));
            self.names.append_option(band.map(|band| band.name.as_str()));
        }
    }

    /// The rows since the last batch, if there are any.
    pub fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.assets.finish()),
            Arc::new(self.types.finish()),
            Arc::new(self.times.finish().with_timezone("UTC")),
            Arc::new(self.scores.finish()),
            Arc::new(self.names.finish()),
        ];
        let batch = RecordBatch::try_new(schema(), columns)?;
        Ok((batch.num_rows() > 0).then_some(batch))
    }
}
