//! Filters that PostgreSQL understands as they are meant here.

use super::quoted;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// The filter as PostgreSQL's SQL; `None` when it has to be looked at here.
pub fn told(filter: &Expr) -> Option<String> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And | Operator::Or => {
                Some(format!("({} {op} {})", told(left)?, told(right)?))
            }
            _ => compared(left, *op, right),
        },
        Expr::Not(inner) => Some(format!("(NOT {})", told(inner)?)),
        Expr::IsNull(inner) => Some(format!("({} IS NULL)", column(inner)?)),
        Expr::IsNotNull(inner) => Some(format!("({} IS NOT NULL)", column(inner)?)),
        Expr::Between(between) => {
            let low = compared(&between.expr, Operator::GtEq, &between.low)?;
            let high = compared(&between.expr, Operator::LtEq, &between.high)?;
            let not = if between.negated { "NOT " } else { "" };
            Some(format!("({not}({low} AND {high}))"))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let kind = if list.iter().any(is_text) { "::text" } else { "" };
            let list: Option<Vec<String>> = list.iter().map(literal).collect();
            let not = if *negated { "NOT " } else { "" };
            Some(format!("({}{kind} {not}IN ({}))", column(expr)?, list?.join(", ")))
        }
        Expr::Column(_) => column(filter),
        _ => None,
    }
}

fn compared(left: &Expr, op: Operator, right: &Expr) -> Option<String> {
    let (column, op, value, shown) = match (column(left), column(right)) {
        (Some(column), None) => (column, op, right, literal(right)?),
        (None, Some(column)) => (column, op.swap()?, left, literal(left)?),
        _ => return None,
    };
    let by_order = match op {
        Operator::Eq | Operator::NotEq => false,
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => true,
        _ => return None,
    };
    // Here texts are in the order of their bytes, there in that of a language.
    let kind = match (is_text(value), by_order) {
        (true, true) => "::text COLLATE \"C\"",
        (true, false) => "::text",
        (false, _) => "",
    };
    let op = if op == Operator::NotEq { "<>".to_owned() } else { op.to_string() };
    Some(format!("({column}{kind} {op} {shown})"))
}

/// Whether a column that it is compared with is text here; there it may be of any type, JSON say.
fn is_text(value: &Expr) -> bool {
    matches!(value, Expr::Literal(ScalarValue::Utf8(_), _))
}

/// The name of a column.
pub fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(quoted(&column.name)),
        _ => None,
    }
}

/// A value that is not null. Other types than the columns have are looked at here.
pub fn literal(expr: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    Some(match value {
        ScalarValue::Utf8(Some(text)) if !text.contains('\0') => {
            format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
        }
        ScalarValue::Float64(Some(number)) => format!("'{number:?}'::float8"),
        ScalarValue::Int64(Some(number)) => format!("'{number}'::int8"),
        ScalarValue::Boolean(Some(value)) => value.to_string(),
        ScalarValue::TimestampMicrosecond(Some(micros), _) => {
            let time = jiff::Timestamp::from_microsecond(*micros).ok()?;
            let year = time.strftime("%Y").to_string().parse::<i32>().ok()?;
            // Years before Christ are written otherwise there.
            (year > 0).then(|| format!("'{time}'::timestamptz"))?
        }
        _ => return None,
    })
}
