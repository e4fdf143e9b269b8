//! Fleet views: what is true of many assets together, as differential reductions.

use super::capture::{self, Dated};
use super::score::OrderedScore;
use crate::model::{Change, FleetHealthRow, FleetThresholdRow};
use differential_dataflow::VecCollection;
use std::sync::Arc;
use timely::dataflow::StreamVec;

/// Type, band, asset and score.
pub type Health = (Arc<str>, Arc<str>, u32, OrderedScore);

/// Rule, level and asset.
pub type Threshold = (Arc<str>, u8, u32);

/// Scores of a band are reduced in groups first, so that the cost of a change is that of its
/// group and of the number of groups, not that of the fleet. Assets with the same score are one
/// entry.
const GROUPS: u64 = 64;

/// Number of assets and worst score of each band of each type; nothing for an empty band.
pub fn health(assets: VecCollection<'_, u64, Health, i64>) -> StreamVec<'_, u64, Dated> {
    let groups = assets
        .map(|(asset_type, band, _, score)| ((asset_type, band, score.group(GROUPS)), score))
        .reduce_named("Fleet health groups", |_, scores, output| {
            // Scores come in ascending order, each with the number of assets that have it.
            let count: i64 = scores.iter().map(|(_, count)| count).sum();
            output.push(((*scores[0].0, count), 1));
        });
    let fleet = groups
        .map(|((asset_type, band, _), group)| ((asset_type, band), group))
        .reduce_named("Fleet health", |_, groups, output| {
            let count: i64 = groups.iter().map(|((_, count), times)| count * times).sum();
            let worst: OrderedScore = groups[0].0.0;
            output.push(((worst, count), 1));
        });
    let rows = fleet.map(|((asset_type, band), (worst, count))| FleetHealthRow {
        asset_type,
        band,
        assets: count.max(0) as u64,
        worst_score_bits: worst.get().to_bits(),
    });
    capture::dated(rows.inner, "Fleet health rows", Change::FleetHealth)
}

/// Number of assets at each level of each rule; nothing for a level without assets.
pub fn thresholds(assets: VecCollection<'_, u64, Threshold, i64>) -> StreamVec<'_, u64, Dated> {
    let counts = assets.map(|(rule, level, _)| (rule, level)).count_core::<i64>();
    let rows = counts.map(|((rule, level), count)| FleetThresholdRow {
        rule,
        level: level_name(level).into(),
        assets: count.max(0) as u64,
    });
    capture::dated(rows.inner, "Fleet threshold rows", Change::FleetThresholds)
}

fn level_name(level: u8) -> &'static str {
    match level {
        0 => "normal",
        1 => "warning",
        _ => "critical",
    }
}

#[cfg(test)]
mod tests;
