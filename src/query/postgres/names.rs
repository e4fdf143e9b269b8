//! Names of columns as PostgreSQL gives them: `avg`, not `avg(telemetry.value)`.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, DataType, Expr, Query, Select, SelectItem, SetExpr};

/// PostgreSQL's word for a column that has no name.
const NAMELESS: &str = "?column?";

/// Names of the columns of an answer, from its left and from its right: how many there are in
/// between, where a `*` stands, is not known before the plan is.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    left: Vec<Option<String>>,
    right: Vec<Option<String>>,
}

impl Names {
    /// What the column at this place of so many is called; `None` when its own name is right.
    pub fn get(&self, at: usize, of: usize) -> Option<&str> {
        let from_right = of.checked_sub(at + 1)?;
        let right = self.right.len().checked_sub(from_right + 1);
        let named = self.left.get(at).or_else(|| self.right.get(right?))?;
        named.as_deref()
    }
}

/// The names of the columns that a statement has.
pub(super) fn of(statement: &Statement) -> Names {
    match statement {
        Statement::Statement(inner) => match inner.as_ref() {
            ast::Statement::Query(query) => of_query(query),
            _ => Names::default(),
        },
        _ => Names::default(),
    }
}

fn of_query(query: &Query) -> Names {
    select(&query.body).map(of_select).unwrap_or_default()
}

fn select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => select_of(query),
        SetExpr::SetOperation { left, .. } => select(left),
        _ => None,
    }
}

fn select_of(query: &Query) -> Option<&Select> {
    select(&query.body)
}

fn of_select(select: &Select) -> Names {
    let items: Vec<Option<Option<String>>> = select.projection.iter().map(of_item).collect();
    let left: Vec<Option<String>> = items.iter().map_while(Clone::clone).collect();
    let right = match left.len() == items.len() {
        true => Vec::new(),
        false => {
            let mut right: Vec<Option<String>> =
                items.into_iter().rev().map_while(|item| item).collect();
            right.reverse();
            right
        }
    };
    Names { left, right }
}

/// The name of one item: `None` for a `*`, and within, `None` when the plan knows.
fn of_item(item: &SelectItem) -> Option<Option<String>> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(Some(of_expr(expr).unwrap_or(NAMELESS.into()))),
        SelectItem::ExprWithAlias { .. } => Some(None),
        _ => None,
    }
}

fn of_expr(expr: &Expr) -> Option<String> {
    let lower = |ident: &ast::Ident| match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    match expr {
        Expr::Identifier(ident) => Some(lower(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(lower),
        Expr::CompoundFieldAccess { root, .. } => of_expr(root),
        Expr::Function(function) => function.name.0.last()?.as_ident().map(lower),
        Expr::Cast { expr, data_type, .. } => of_expr(expr).or_else(|| of_type(data_type)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => of_expr(inner),
        Expr::Case { else_result, .. } => {
            let last = else_result.as_deref().and_then(of_expr);
            Some(last.unwrap_or("case".into()))
        }
        Expr::Subquery(query) => {
            let first = select_of(query)?.projection.first()?;
            match first {
                SelectItem::ExprWithAlias { alias, .. } => Some(lower(alias)),
                SelectItem::UnnamedExpr(expr) => of_expr(expr),
                _ => None,
            }
        }
        Expr::Exists { .. } => Some("exists".into()),
        Expr::Array(_) => Some("array".into()),
        Expr::Extract { .. } => Some("extract".into()),
        Expr::Substring { .. } => Some("substring".into()),
        Expr::Trim { .. } => Some("btrim".into()),
        Expr::Position { .. } => Some("position".into()),
        Expr::Floor { .. } => Some("floor".into()),
        Expr::Ceil { .. } => Some("ceil".into()),
        Expr::TypedString(typed) => of_type(&typed.data_type),
        Expr::Interval(_) => Some("interval".into()),
        Expr::AtTimeZone { .. } => Some("timezone".into()),
        _ => None,
    }
}

fn of_type(data_type: &DataType) -> Option<String> {
    Some(
        match data_type {
            DataType::Text | DataType::String(_) => "text",
            DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
            DataType::BigInt(_) | DataType::Int8(_) => "int8",
            DataType::SmallInt(_) | DataType::Int2(_) => "int2",
            DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => "float8",
            DataType::Real | DataType::Float4 => "float4",
            DataType::Boolean | DataType::Bool => "bool",
            DataType::Timestamp(_, ast::TimezoneInfo::None) => "timestamp",
            DataType::Timestamp(..) => "timestamptz",
            DataType::Date => "date",
            DataType::Numeric(_) | DataType::Decimal(_) => "numeric",
            _ => return None,
        }
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Limits;
    use crate::query::statement::parse;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

    #[track_caller]
    fn check(text: &str, columns: usize, expected: &[Option<&str>]) {
        let statements = parse(text, &PostgreSqlDialect {}, &Limits::default()).unwrap();
        let names = of(&statements[0]);
        let named: Vec<Option<&str>> = (0..columns).map(|at| names.get(at, columns)).collect();
        assert_eq!(named, expected, "{text}");
    }

    #[test]
    fn columns_are_called_as_postgresql_calls_them() {
        let some = Some::<&str>;
        check(
            "SELECT avg(t.value), count(*), T.Asset FROM t",
            3,
            &["avg", "count", "asset"].map(some),
        );
        check(
            "SELECT 1, 1 + 1, 'x'::text, x::int",
            4,
            &["?column?", "?column?", "text", "x"].map(some),
        );
        check("SELECT max(x) AS top, \"Big\"", 2, &[None, Some("Big")]);
        check(
            "SELECT CASE WHEN a THEN b ELSE c END, (SELECT max(y) FROM t)",
            2,
            &["c", "max"].map(some),
        );
        check("SELECT *, now() FROM t", 4, &[None, None, None, Some("now")]);
        check("SELECT sum(a), t.*, 1 FROM t", 4, &[Some("sum"), None, None, Some("?column?")]);
        check("SELECT min(a) FROM t UNION SELECT max(a) FROM t", 1, &["min"].map(some));
        check("VALUES (1)", 1, &[None]);
    }
}
