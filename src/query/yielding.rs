//! Joins that let others have the thread.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use std::sync::Arc;

/// Has joins pause after some batches.
///
/// The planner does so where rows are read, but a join makes rows without end out of few: whoever
/// counts them would never pause, and what never pauses cannot be ended.
#[derive(Debug)]
pub(super) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let pausing = plan.transform_up(|plan| match plan.children().len() {
            0 | 1 => Ok(Transformed::no(plan)),
            _ => Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<_>)),
        });
        Ok(pausing?.data)
    }

    fn name(&self) -> &str {
        "yielding"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
