//! Functions of time series in SQL, beside those that DataFusion has.
//!
//! Times are instants in microseconds; text that is a time is read as one, in UTC when it names no
//! zone. Rows without a time count for nothing.

mod arguments;
mod zone;
mod buckets;
mod time_bucket;
mod ends;
mod ends_of_groups;
mod change;
mod weighted;
mod downsample;
mod points;
mod question;
mod series;
mod series_groups;
mod gapfill;
#[cfg(test)]
mod tests;

use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

pub(super) use buckets::{Buckets, Width};
pub(super) use gapfill::Planner;
pub(super) use zone::Zone;

/// Makes the functions known to a session, whose plans [`Planner`] must make.
pub(super) fn register(context: &SessionContext) {
    context.register_udf(ScalarUDF::new_from_impl(time_bucket::TimeBucket::new()));
    context.register_udf(ScalarUDF::new_from_impl(gapfill::Gapfill::new()));
    for fill in [gapfill::Fill::Locf, gapfill::Fill::Interpolate] {
        context.register_udf(ScalarUDF::new_from_impl(gapfill::InGaps::new(fill)));
    }
    context.add_analyzer_rule(Arc::new(gapfill::FillGaps));
    for end in [ends::End::First, ends::End::Last] {
        context.register_udaf(AggregateUDF::new_from_impl(ends::AtEnd::new(end)));
    }
    for change in [change::Change::delta(), change::Change::rate()] {
        context.register_udaf(AggregateUDF::new_from_impl(change));
    }
    for kind in series::Kind::ALL {
        context.register_udaf(AggregateUDF::new_from_impl(series::OfSeries::new(kind)));
    }
    let percentile = approx_percentile_cont_udaf().as_ref().clone();
    context.register_udaf(percentile.with_aliases(["approx_percentile"]));
}
