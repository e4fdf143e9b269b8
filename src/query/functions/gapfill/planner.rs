//! From the node to what runs.

use super::exec::FillGapsExec;
use super::filling::Filling;
use super::node::GapFill;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use std::sync::Arc;

/// The planner of queries that know [`GapFill`].
#[derive(Debug)]
pub(in crate::query) struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Gaps)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct Gaps;

#[async_trait]
impl ExtensionPlanner for Gaps {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<GapFill>() else { return Ok(None) };
        let [input] = physical_inputs else { return internal_err!("GapFill has one input") };
        let schema = node.input.schema();
        let plan = |expr: &Expr| planner.create_physical_expr(expr, schema, session, context);
        let constants = node.constants.iter().map(plan).collect::<Result<_>>()?;
        let fills = node.fills.iter().map(|filled| Ok((filled.fill, plan(&filled.of)?)));
        let filling = Filling {
            bucket: node.bucket,
            keys: node.keys,
            constants,
            fills: fills.collect::<Result<_>>()?,
            schema: Arc::clone(
                datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).inner(),
            ),
        };
        Ok(Some(Arc::new(FillGapsExec::new(Arc::clone(input), Arc::new(filling))?)))
    }
}
