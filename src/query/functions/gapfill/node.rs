//! The node of a plan that adds missing buckets.

use super::Fill;
use super::calls::InGaps;
use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};
use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// An aggregate and what its gaps are filled with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GapFill {
    pub input: LogicalPlan,
    /// The column of buckets, one of the first `keys` columns.
    pub bucket: usize,
    pub keys: usize,
    /// Width, start, finish, and the time zone if there is one.
    pub constants: Vec<Expr>,
    /// Columns behind those of the input.
    pub fills: Vec<Filled>,
    schema: DFSchemaRef,
}

/// A column whose gaps are filled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Filled {
    pub fill: Fill,
    pub of: Expr,
    name: String,
}

impl GapFill {
    pub fn new(
        input: LogicalPlan,
        bucket: usize,
        keys: usize,
        constants: Vec<Expr>,
    ) -> Result<Self> {
        let schema = Arc::clone(input.schema());
        Self { input, bucket, keys, constants, fills: Vec::new(), schema }.with_schema()
    }

    /// With columns for these calls, and the columns in the order of the calls.
    pub fn with_fills(&self, calls: &[Expr]) -> Result<(Self, Vec<Expr>)> {
        let mut node = self.clone();
        let mut columns = Vec::new();
        for call in calls {
            let Some((fill, of)) = InGaps::of(call) else {
                return internal_err!("{call} fills no gaps");
            };
            let known = |known: &&Filled| known.fill == fill && known.of == *of;
            if let Some(known) = node.fills.iter().find(known) {
                columns.push(Expr::Column(Column::new_unqualified(&known.name)));
                continue;
            }
            let mut name = call.schema_name().to_string();
            while node.fills.iter().any(|known| known.name == name) {
                name.push('_');
            }
            columns.push(Expr::Column(Column::new_unqualified(&name)));
            node.fills.push(Filled { fill, of: of.clone(), name });
        }
        Ok((node.with_schema()?, columns))
    }

    /// Everything but the keys may be null.
    fn with_schema(mut self) -> Result<Self> {
        let input = self.input.schema();
        let mut fields: Vec<_> = input
            .iter()
            .enumerate()
            .map(|(at, (qualifier, field))| {
                let field = match at < self.keys {
                    true => Arc::clone(field),
                    false => Arc::new(field.as_ref().clone().with_nullable(true)),
                };
                (qualifier.cloned(), field)
            })
            .collect();
        for filled in &self.fills {
            let of = filled.of.get_type(input)?;
            fields.push((None, Arc::new(Field::new(&filled.name, of, true))));
        }
        self.schema = Arc::new(DFSchema::new_with_metadata(fields, input.metadata().clone())?);
        Ok(self)
    }
}

impl PartialOrd for GapFill {
    fn partial_cmp(&self, _other: &Self) -> Option<Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for GapFill {
    fn name(&self) -> &str {
        "GapFill"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let fills = self.fills.iter().map(|filled| filled.of.clone());
        self.constants.iter().cloned().chain(fills).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let constants: Vec<String> = self.constants.iter().map(ToString::to_string).collect();
        write!(f, "GapFill: {}", constants.join(", "))?;
        self.fills.iter().try_for_each(|filled| write!(f, ", {}", filled.name))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut node = self.clone();
        let mut exprs = exprs.into_iter();
        let olds = node.constants.iter_mut().chain(node.fills.iter_mut().map(|fill| &mut fill.of));
        for old in olds {
            let Some(new) = exprs.next() else { return internal_err!("GapFill lost expressions") };
            *old = new;
        }
        let Some(input) = inputs.into_iter().next() else {
            return internal_err!("GapFill lost its input");
        };
        node.input = input;
        node.with_schema()
    }
}
