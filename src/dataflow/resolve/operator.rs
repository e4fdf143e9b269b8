//! The operator: holds batches until the catalog is complete at their epoch.

use super::resolver::{Resolver, Unmapped};
use crate::dataflow::capture::Dated;
use crate::dataflow::catalog::{News, NewsUpdate};
use crate::dataflow::parcels::Texts;
use crate::dataflow::rows::{AssetRows, DeviceBatch};
use crate::model::{Batch, Change};
use std::collections::BTreeMap;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};

/// Rows after which the operator lets the others have their turn before the next epoch.
const ROWS_PER_ACTIVATION: usize = 16_384;

/// What comes out of the batches.
pub struct Resolved<'scope> {
    /// Rows of assets, one container for each type and kind of route.
    pub rows: Stream<'scope, u64, AssetRows>,
    /// What was unmapped.
    pub changes: StreamVec<'scope, u64, Dated>,
}

struct Held {
    rows: Capability<u64>,
    changes: Capability<u64>,
    batches: Vec<Batch>,
}

/// Resolves the batches of this worker with the news that every worker has.
///
/// Epochs are resolved in order, each with the catalog as it is at exactly that epoch: the
/// batches of a worker come in order of their epochs, because its input is the only source and
/// the edge is local, and news of later epochs is not taken before an epoch is done.
pub fn render<'scope>(
    batches: Stream<'scope, u64, DeviceBatch>,
    news: StreamVec<'scope, u64, NewsUpdate>,
    texts: Texts,
) -> Resolved<'scope> {
    let mut builder = OperatorBuilder::new("Resolve".to_owned(), batches.scope());
    let again = batches.scope().activator_for(builder.operator_info().address);
    let mut batches = builder.new_input(batches, Pipeline);
    let mut news = builder.new_input(news, Pipeline);
    let (rows_output, rows) = builder.new_output::<AssetRows>();
    let (changes_output, changes) = builder.new_output::<Vec<Dated>>();
    let mut rows_output = OutputBuilder::<_, NoopBuilder<AssetRows>>::from(rows_output);
    let mut changes_output =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Dated>>>::from(changes_output);

    builder.build(move |capabilities| {
        drop(capabilities);
        let mut held: BTreeMap<u64, Held> = BTreeMap::new();
        let mut pending: BTreeMap<u64, Vec<(News, i64)>> = BTreeMap::new();
        let mut resolver = Resolver::default();
        move |frontiers| {
            batches.for_each(|capability, batch| {
                let held = held.entry(*capability.time()).or_insert_with(|| Held {
                    rows: capability.retain(0),
                    changes: capability.retain(1),
                    batches: Vec::new(),
                });
                held.batches.extend(std::mem::take(batch).0);
            });
            news.for_each(|_, updates| {
                for (news, epoch, diff) in updates.drain(..) {
                    pending.entry(epoch).or_default().push((news, diff));
                }
            });
            let complete = |epoch: &u64| !frontiers[1].less_equal(epoch);
            let mut budget = ROWS_PER_ACTIVATION;
            while let Some(first) = held.first_entry().filter(|first| complete(first.key())) {
                if budget == 0 {
                    again.activate();
                    break;
                }
                let (epoch, of_epoch) = first.remove_entry();
                while let Some(news) = pending.first_entry().filter(|news| *news.key() <= epoch) {
                    resolver.learn(news.remove());
                }
                let mut unmapped = Unmapped::default();
                let mut rows_output = rows_output.activate();
                let mut session = rows_output.session_with_builder(&of_epoch.rows);
                for batch in &of_epoch.batches {
                    budget = budget.saturating_sub(batch.len());
                    for rows in resolver.resolve(batch, &mut unmapped) {
                        let texts = rows.asset_type.and_then(|id| texts.measured(id, epoch));
                        session.give_container(&mut AssetRows { rows, texts });
                    }
                }
                let outcomes = unmapped.into_outcomes();
                if !outcomes.is_empty() {
                    let mut changes_output = changes_output.activate();
                    let mut session = changes_output.session(&of_epoch.changes);
                    session.give((epoch, Change::Outcomes(outcomes)));
                }
            }
        }
    });
    Resolved { rows, changes }
}
