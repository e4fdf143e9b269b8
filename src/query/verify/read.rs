//! Reads telemetry back.

use super::base::Bases;
use super::plant::Plant;
use super::points::Accepted;
use crate::model::{Epoch, Quality, Timestamp};
use crate::query::error::Error;
use crate::query::telemetry;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::prelude::{Expr, SessionContext, col, lit};
use futures::StreamExt;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Reads telemetry back.
pub(super) struct Reader {
    context: SessionContext,
    pub plant: Plant,
    /// How many points were read.
    pub points: u64,
    metrics: HashSet<Arc<str>>,
    /// The epochs from which telemetry is of the assets that are there now.
    since: HashMap<Arc<str>, Epoch>,
    /// Only points before this time are read.
    pub end: Option<Timestamp>,
    /// What was noted of assets of which older telemetry was removed: their points are read from
    /// there on.
    pub bases: Bases,
    /// Points that were received up to this epoch count for [`Reader::met`].
    pub received: Epoch,
    /// Assets with such points.
    pub met: HashSet<String>,
}

impl Reader {
    /// `context` has the table. `removed` are the epochs at which assets were removed last; what was
    /// noted of them before is forgotten.
    pub(super) fn new(
        context: SessionContext,
        plant: Plant,
        removed: HashMap<Arc<str>, Epoch>,
        mut bases: Bases,
    ) -> Self {
        let noted = bases.epoch;
        bases.assets.retain(|asset, _| {
            let is_other = removed.get(asset.as_str()).is_some_and(|removed| *removed > noted);
            !is_other && plant.knows(asset)
        });
        let (metrics, met, end) = (HashSet::new(), HashSet::new(), None);
        let received = Epoch(u64::MAX);
        Self { context, plant, points: 0, metrics, since: removed, end, bases, received, met }
    }

    /// All assets with telemetry, or of which something was noted, in order.
    pub(super) async fn assets(&self) -> Result<Vec<String>, Error> {
        let failed = |error| Error::from_datafusion(&error);
        let frame = self.context.sql("SELECT DISTINCT asset FROM telemetry ORDER BY asset").await;
        let batches = frame.map_err(failed)?.collect().await.map_err(failed)?;
        let mut assets = Vec::new();
        for batch in batches {
            assets.extend(batch.column(0).as_string::<i32>().iter().flatten().map(String::from));
        }
        assets.extend(self.bases.assets.keys().cloned());
        assets.sort_unstable();
        assets.dedup();
        Ok(assets)
    }

    /// The points of some assets, behind what was noted of them.
    pub(super) async fn read(
        &mut self,
        assets: &[String],
    ) -> Result<BTreeMap<String, Vec<Accepted>>, Error> {
        let failed = |error| Error::from_datafusion(&error);
        let (Some(first), Some(last)) = (assets.first(), assets.last()) else {
            return Ok(BTreeMap::new());
        };
        let list: Vec<Expr> = assets.iter().map(|asset| lit(asset.as_str())).collect();
        let among = col("asset").in_list(list, false);
        // The range prunes files by their statistics, which a long list does not.
        let range = col("asset").between(lit(first.as_str()), lit(last.as_str()));
        let frame = self.context.table(telemetry::NAME).await.map_err(failed)?;
        let frame = frame.filter(range).and_then(|frame| frame.filter(among)).map_err(failed)?;
        let frame = match self.end {
            Some(end) => {
                let end = ScalarValue::TimestampMicrosecond(Some(end.0), Some("UTC".into()));
                frame.filter(col("event_time").lt(lit(end))).map_err(failed)?
            }
            None => frame,
        };
        let mut stream = frame.execute_stream().await.map_err(failed)?;
        let noted = assets.iter().filter(|asset| self.bases.assets.contains_key(*asset));
        let mut of_assets: BTreeMap<String, Vec<Accepted>> =
            noted.map(|asset| (asset.clone(), Vec::new())).collect();
        while let Some(batch) = stream.next().await {
            self.take(&batch.map_err(failed)?, &mut of_assets);
        }
        Ok(of_assets)
    }

    fn take(&mut self, batch: &RecordBatch, of_assets: &mut BTreeMap<String, Vec<Accepted>>) {
        self.points += batch.num_rows() as u64;
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let (assets, metrics) =
            (batch.column(1).as_string::<i32>(), batch.column(3).as_string::<i32>());
        let values = batch.column(4).as_primitive::<Float64Type>();
        let texts = batch.column(5).as_string::<i32>();
        let qualities = batch.column(6).as_primitive::<UInt32Type>();
        let epochs = batch.column(7).as_primitive::<UInt64Type>();
        for i in 0..batch.num_rows() {
            let asset = assets.value(i);
            let epoch = epochs.value(i);
            // Before it was removed it was another asset.
            let is_other = self.since.get(asset).is_some_and(|since| epoch < since.0);
            if is_other || self.plant.history(asset).is_none() {
                continue;
            }
            if epoch <= self.received.0 && !self.met.contains(asset) {
                self.met.insert(asset.into());
            }
            if times.value(i) < self.bases.before.0 && self.bases.assets.contains_key(asset) {
                continue;
            }
            let accepted = Accepted {
                event_time: times.value(i),
                metric: self.metric(metrics.value(i)),
                number: values.is_valid(i).then(|| values.value(i)),
                text: texts.is_valid(i).then(|| texts.value(i).into()),
                quality: Quality(qualities.value(i)),
            };
            match of_assets.get_mut(asset) {
                Some(points) => points.push(accepted),
                None => {
                    of_assets.insert(asset.into(), vec![accepted]);
                }
            }
        }
    }

    /// The one copy of a name.
    fn metric(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.metrics.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.metrics.insert(Arc::clone(&name));
        name
    }
}
