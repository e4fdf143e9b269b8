//! Types of parameters where the planner leaves them open.

use arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use std::collections::HashMap;
use std::sync::Arc;

/// Types by the names of their parameters: that of a cast around it, or that of the array in which
/// something is looked for.
pub(super) fn inferred(plan: &LogicalPlan) -> HashMap<String, DataType> {
    let mut found = HashMap::new();
    let _ = plan.apply_with_subqueries(|plan| {
        let schemas = plan.inputs().first().map(|input| Arc::clone(input.schema()));
        for expr in plan.expressions() {
            let _ = expr.apply(|expr| {
                if let Some((name, kind)) = of(expr, schemas.as_ref()) {
                    found.entry(name).or_insert(kind);
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn of(expr: &Expr, schema: Option<&DFSchemaRef>) -> Option<(String, DataType)> {
    let placeholder = |expr: &Expr| match expr {
        Expr::Placeholder(placeholder) => Some(placeholder.id.clone()),
        _ => None,
    };
    match expr {
        Expr::Cast(cast) => Some((placeholder(&cast.expr)?, cast.field.data_type().clone())),
        Expr::ScalarFunction(call) if call.name() == "array_has" => {
            let [array, element] = call.args.as_slice() else { return None };
            let element = element.get_type(schema?.as_ref()).ok()?;
            let item = Field::new_list_field(element, true);
            Some((placeholder(array)?, DataType::List(Arc::new(item))))
        }
        _ => None,
    }
}
