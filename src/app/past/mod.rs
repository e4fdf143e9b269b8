//! Views as they were, and health as it went: told again by the asset graph's own core from the points
//! that counted then.

mod group;
mod plant;
mod health;

use crate::historian::Historian;
use crate::model::Epoch;
use crate::query::{Telling, ToldAgain, Wanted};
use crate::views::{Limits, Told, View};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use group::Group;
use plant::Plant;
use std::sync::Arc;

/// Assets whose rows are held at the same time.
const ASSETS_AT_ONCE: usize = 16;
/// The view of how the health of assets went.
const HEALTH_HISTORY: &str = "health_history";

/// Tells views again from the archive.
pub struct Past {
    /// The points, and what the plant was.
    pub historian: Arc<Historian>,
}

/// What is told of each group of assets.
enum Asked {
    View(View),
    HealthHistory,
}

type Take<'a> = &'a mut dyn FnMut(Telling) -> Result<bool, String>;

impl ToldAgain for Past {
    fn list(&self) -> Vec<(String, SchemaRef)> {
        vec![(HEALTH_HISTORY.to_owned(), health::schema())]
    }

    fn kept(&self) -> Vec<String> {
        let all = View::ALL.into_iter().filter(|view| is_of_assets(*view) || is_catalog(*view));
        all.map(|view| view.name().to_owned()).collect()
    }

    fn tell(
        &self,
        view: &str,
        as_of: Epoch,
        wanted: &Wanted,
        take: Take<'_>,
    ) -> Result<(), String> {
        let said = |error: crate::historian::Error| error.to_string();
        let asked = match view {
            HEALTH_HISTORY => Asked::HealthHistory,
            name => Asked::View(View::parse(name).map_err(|error| error.to_string())?),
        };
        let chronicle = self.historian.plant(as_of).map_err(said)?;
        let plant = Plant::of(chronicle, as_of);
        if let Asked::View(view) = asked
            && is_catalog(view)
        {
            let mut told = Told::new(Limits::default());
            told.take(vec![plant.catalog()]);
            return hand_out(told.rows(view), take).map(drop);
        }
        if let Some(expired) = self.historian.expired() {
            return Err(format!(
                "views of the past are told again from telemetry, but that before {} has been \
                 removed because it was old",
                expired.before
            ));
        }
        let mut days = self.historian.as_of(as_of).map_err(said)?.days();
        if let (Asked::HealthHistory, Some(until)) = (&asked, wanted.until) {
            // What is true at a time depends on no later point.
            days.retain(|day| *day <= until);
        }
        let days: Vec<i64> = days.into_iter().collect();
        for (versions, assets) in plant.groups(wanted.assets.as_ref(), ASSETS_AT_ONCE) {
            let group = Group { historian: &self.historian, as_of, versions, assets, days: &days };
            let goes_on = match asked {
                Asked::View(view) => group.view(view, &plant, take)?,
                Asked::HealthHistory => group.health(wanted.until, take)?,
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }
}

/// Whether the rows of a view are each of one asset, and a function of its points.
fn is_of_assets(view: View) -> bool {
    match view {
        View::AssetMetrics
        | View::AssetHealth
        | View::ThresholdStates
        | View::Rollups(_)
        | View::Events
        | View::ThresholdOccurrences
        | View::Errors => true,
        View::FleetHealth
        | View::FleetThresholds
        | View::DeadLetters
        | View::Corrections
        | View::Catalog(_) => false,
    }
}

fn is_catalog(view: View) -> bool {
    matches!(view, View::Catalog(_))
}

/// Hands batches on. False when no more are wanted.
fn hand_out<E: std::fmt::Display>(
    rows: Result<Vec<RecordBatch>, E>,
    take: Take<'_>,
) -> Result<bool, String> {
    for batch in rows.map_err(|error| error.to_string())? {
        if !take(Telling::Rows(batch))? {
            return Ok(false);
        }
    }
    Ok(true)
}
