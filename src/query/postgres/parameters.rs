//! Types of parameters: what the planner says, and more where it leaves them open.

use crate::query::error::Error;
use arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use std::collections::HashMap;
use std::sync::Arc;

/// Most parameters of one statement: PostgreSQL's protocol has 16 bits for their numbers.
const PARAMETERS: usize = 65_535;

/// Types of the parameters of a plan in order; `None` where any will do.
pub(in crate::query) fn types_of(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, Error> {
    let mut types: Vec<(usize, Option<DataType>)> = plan
        .get_parameter_types()
        .map_err(|error| Error::from_datafusion(&error))?
        .into_iter()
        .map(|(name, kind)| Ok((number(&name)?, kind)))
        .collect::<Result<_, Error>>()?;
    types.sort_by_key(|(number, _)| *number);
    let count = types.last().map_or(0, |(number, _)| *number);
    let mut parameters = vec![None; count];
    let open = types.iter().any(|(_, kind)| kind.is_none());
    let mut inferred = if open { inferred(plan) } else { HashMap::new() };
    for (number, kind) in types {
        parameters[number - 1] = kind.or_else(|| inferred.remove(&format!("${number}")));
    }
    Ok(parameters)
}

/// The number of a parameter: 2 for `$2`.
fn number(name: &str) -> Result<usize, Error> {
    let number = name.strip_prefix('$').and_then(|number| number.parse().ok());
    number.filter(|number| (1..=PARAMETERS).contains(number)).ok_or_else(|| Error::Parameter {
        message: format!("'{name}' is no parameter"),
        hint: Some("parameters are $1, $2 and so on".into()),
    })
}

/// Types by the names of their parameters: that of a cast around it, or that of the array in which
/// something is looked for.
fn inferred(plan: &LogicalPlan) -> HashMap<String, DataType> {
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
