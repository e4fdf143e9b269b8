//! The JSONata subset: from the parser's tree to a DataFusion expression, with types on the way.
//!
//! A missing value is null. Arithmetic and comparisons with it are null, `and`, `or` and `$not`
//! follow three-valued logic, `? :` takes the second branch, `&` takes it for an empty text and
//! functions of lists skip it.

use super::compile::{MAX_DEPTH, MAX_NODES, Scope, Want};
use super::error::{Error, shown};
use super::{functions, names};
use crate::model::DataType;
use arrow::datatypes::DataType as Arrow;
use datafusion::common::{Column, ScalarValue};
use datafusion::functions::math::expr_fn::{abs, ceil, floor};
use datafusion::functions::string::expr_fn::concat;
use datafusion::logical_expr::{Expr, Operator, binary_expr, cast, lit, not, try_cast, when};
use jsonata_core::ast::{AstNode, BinaryOp, PathStep, UnaryOp};

/// Roots that documents may name later.
const LATER_ROOTS: [&str; 7] =
    ["attributes", "device", "prev", "alarms", "frames", "asset", "value"];

/// The logical expression of a JSONata text, cast to what is wanted.
pub(super) fn translate(text: &str, scope: &Scope, want: Want) -> Result<Expr, Error> {
    let tree = jsonata_core::parser::parse(text).map_err(|error| Error::Syntax {
        expression: shown(text),
        problem: error.to_string(),
        hint: text.contains("==").then(|| "equality is written with one '='".to_owned()),
    })?;
    let mut translation = Translation { text, scope, nodes: 0, depth: 0 };
    let typed = translation.node(&tree)?;
    translation.wanted(typed, want)
}

struct Translation<'a> {
    text: &'a str,
    scope: &'a Scope,
    nodes: usize,
    depth: usize,
}

/// An expression and the type of its values; no type is that of `null`.
struct Typed {
    expr: Expr,
    data_type: Option<DataType>,
}

impl Typed {
    fn number(expr: Expr) -> Self {
        Self { expr, data_type: Some(DataType::Double) }
    }

    fn condition(expr: Expr) -> Self {
        Self { expr, data_type: Some(DataType::Bool) }
    }

    fn text(expr: Expr) -> Self {
        Self { expr, data_type: Some(DataType::String) }
    }

    fn null() -> Self {
        Self { expr: lit(ScalarValue::Null), data_type: None }
    }

    fn name(&self) -> &'static str {
        match self.data_type {
            Some(DataType::Double | DataType::Integer) => "a number",
            Some(DataType::Bool) => "a condition",
            Some(DataType::String) => "a text",
            None => "null",
        }
    }
}

impl Translation<'_> {
    fn node(&mut self, node: &AstNode) -> Result<Typed, Error> {
        self.nodes += 1;
        self.depth += 1;
        self.limit("the number of parts", self.nodes, MAX_NODES)?;
        self.limit("the depth", self.depth, MAX_DEPTH)?;
        let typed = match node {
            AstNode::Number(number) => Typed::number(lit(*number)),
            AstNode::Boolean(value) => Typed::condition(lit(*value)),
            AstNode::String(text) => Typed::text(lit(text.as_str())),
            AstNode::Null | AstNode::Undefined => Typed::null(),
            AstNode::Name(name) => self.metric(name)?,
            AstNode::Path { steps } => self.path(steps)?,
            AstNode::Block(parts) if parts.len() == 1 => self.node(&parts[0])?,
            AstNode::Unary { op: UnaryOp::Negate, operand } => {
                let operand = self.number(operand, "'-'")?;
                Typed::number(Expr::Negative(Box::new(operand)))
            }
            AstNode::Unary { op: UnaryOp::Not, operand } => {
                Typed::condition(not(self.condition(operand, "'not'")?))
            }
            AstNode::Binary { op, lhs, rhs } => self.binary(*op, lhs, rhs)?,
            AstNode::Conditional { condition, then_branch, else_branch } => {
                self.conditional(condition, then_branch, else_branch.as_deref())?
            }
            AstNode::Function { name, args, .. } => self.function(name, args)?,
            other => return Err(self.not_supported(describe(other))),
        };
        self.depth -= 1;
        Ok(typed)
    }

    fn path(&self, steps: &[PathStep]) -> Result<Typed, Error> {
        let mut path = Vec::new();
        for step in steps {
            let plain = step.stages.is_empty() && step.focus.is_none() && step.index_var.is_none();
            match &step.node {
                AstNode::Name(name) | AstNode::String(name) if plain => path.push(name.as_str()),
                _ if !plain => return Err(self.not_supported("filters and bindings in a path")),
                other => return Err(self.not_supported(describe(other))),
            }
        }
        let known = |name: &str| self.scope.fields.iter().any(|(field, _)| field == name);
        match path.as_slice() {
            [name] => self.metric(name),
            ["metrics", name] => self.metric(name),
            [root, ..] if LATER_ROOTS.contains(root) => {
                Err(self.not_supported(format!("'{root}' in expressions")))
            }
            ["metrics", rest @ ..] if known(&rest.join(".")) => Err(self.unknown(&rest.join("."))),
            _ => Err(self.unknown(path.join(".").trim_start_matches("metrics."))),
        }
    }

    fn metric(&self, name: &str) -> Result<Typed, Error> {
        match self.scope.fields.iter().find(|(field, _)| field == name) {
            Some((field, data_type)) => Ok(Typed {
                expr: Expr::Column(Column::new_unqualified(field)),
                data_type: Some(*data_type),
            }),
            None if LATER_ROOTS.contains(&name) => {
                Err(self.not_supported(format!("'{name}' in expressions")))
            }
            None => Err(self.unknown(name)),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &AstNode, right: &AstNode) -> Result<Typed, Error> {
        use BinaryOp::{
            Add, And, Concatenate, Divide, Equal, GreaterThan, GreaterThanOrEqual, In, LessThan,
            LessThanOrEqual, Modulo, Multiply, NotEqual, Or, Subtract,
        };
        Ok(match op {
            Add => self.arithmetic("'+'", Operator::Plus, left, right)?,
            Subtract => self.arithmetic("'-'", Operator::Minus, left, right)?,
            Multiply => self.arithmetic("'*'", Operator::Multiply, left, right)?,
            Divide => {
                let (left, divisor) = (self.number(left, "'/'")?, self.number(right, "'/'")?);
                Typed::number(match never_zero(&divisor) {
                    true => binary_expr(left, Operator::Divide, divisor),
                    false => functions::call("quotient", functions::quotient, vec![left, divisor]),
                })
            }
            Modulo => {
                let arguments = vec![self.number(left, "'%'")?, self.number(right, "'%'")?];
                Typed::number(functions::call("remainder", functions::remainder, arguments))
            }
            Equal => self.comparison("'='", Operator::Eq, left, right)?,
            NotEqual => self.comparison("'!='", Operator::NotEq, left, right)?,
            LessThan => self.comparison("'<'", Operator::Lt, left, right)?,
            LessThanOrEqual => self.comparison("'<='", Operator::LtEq, left, right)?,
            GreaterThan => self.comparison("'>'", Operator::Gt, left, right)?,
            GreaterThanOrEqual => self.comparison("'>='", Operator::GtEq, left, right)?,
            And => Typed::condition(
                self.condition(left, "'and'")?.and(self.condition(right, "'and'")?),
            ),
            Or => {
                Typed::condition(self.condition(left, "'or'")?.or(self.condition(right, "'or'")?))
            }
            Concatenate => {
                let mut part = |node| -> Result<Expr, Error> { Ok(as_text(self.node(node)?)) };
                Typed::text(concat(vec![part(left)?, part(right)?]))
            }
            In => return Err(self.not_supported("the operator 'in'")),
            other => return Err(self.not_supported(format!("the operator {other:?}"))),
        })
    }

    fn arithmetic(
        &mut self,
        name: &str,
        op: Operator,
        left: &AstNode,
        right: &AstNode,
    ) -> Result<Typed, Error> {
        Ok(Typed::number(binary_expr(self.number(left, name)?, op, self.number(right, name)?)))
    }

    fn comparison(
        &mut self,
        name: &str,
        op: Operator,
        left: &AstNode,
        right: &AstNode,
    ) -> Result<Typed, Error> {
        let (left, right) = (self.node(left)?, self.node(right)?);
        match (left.data_type, right.data_type) {
            (None, _) | (_, None) => {
                let known = if left.data_type.is_none() { right } else { left };
                return match op {
                    Operator::Eq => Ok(Typed::condition(known.expr.is_null())),
                    Operator::NotEq => Ok(Typed::condition(known.expr.is_not_null())),
                    _ => Err(self.type_error(format!("{name} compares with null"), None)),
                };
            }
            (Some(a), Some(b)) if a == b => {
                return Ok(Typed::condition(binary_expr(left.expr, op, right.expr)));
            }
            _ => {}
        }
        if (left.data_type == Some(DataType::String)) != (right.data_type == Some(DataType::String))
        {
            let problem = format!("{name} compares {} with {}", left.name(), right.name());
            let hint = "convert one side with $number(...) or $string(...)";
            return Err(self.type_error(problem, Some(hint)));
        }
        Ok(Typed::condition(binary_expr(as_number(left), op, as_number(right))))
    }

    fn conditional(
        &mut self,
        condition: &AstNode,
        then: &AstNode,
        otherwise: Option<&AstNode>,
    ) -> Result<Typed, Error> {
        let condition = self.condition(condition, "'?'")?;
        let then = self.node(then)?;
        let otherwise = match otherwise {
            Some(node) => self.node(node)?,
            None => Typed::null(),
        };
        let data_type = match (then.data_type, otherwise.data_type) {
            (None, other) | (other, None) => other,
            (Some(a), Some(b)) if a == b => Some(a),
            (Some(DataType::String), _) | (_, Some(DataType::String)) => {
                let problem = format!("'? :' gives {} or {}", then.name(), otherwise.name());
                return Err(self.type_error(problem, Some("both branches need the same type")));
            }
            _ => Some(DataType::Double),
        };
        let Some(common) = data_type else { return Ok(Typed::null()) };
        let same = |typed: Typed| match typed.data_type {
            Some(own) if own == common => typed.expr,
            _ => cast(typed.expr, common.arrow()),
        };
        let expr = when(condition, same(then))
            .otherwise(same(otherwise))
            .map_err(|error| self.type_error(error.strip_backtrace(), None))?;
        Ok(Typed { expr, data_type })
    }

    fn function(&mut self, name: &str, arguments: &[AstNode]) -> Result<Typed, Error> {
        let shown = format!("${name}()");
        let expects = |least: usize, most: usize| match arguments.len() {
            n if n >= least && n <= most => Ok(()),
            n => Err(self
                .type_error(format!("{shown} takes {least} to {most} arguments, found {n}"), None)),
        };
        let list: Option<functions::NumberFunction> = match name {
            "min" => Some(functions::min),
            "max" => Some(functions::max),
            "sum" => Some(functions::sum),
            "average" => Some(functions::average),
            _ => None,
        };
        if let Some(function) = list {
            expects(1, 1)?;
            let AstNode::Array(elements) = &arguments[0] else {
                let what = format!("{shown} of anything but a list such as [a, b]");
                return Err(self.not_supported(what));
            };
            if elements.is_empty() {
                return Err(self.type_error(format!("{shown} of an empty list"), None));
            }
            let mut numbers = Vec::with_capacity(elements.len());
            for element in elements {
                numbers.push(self.number(element, &shown)?);
            }
            return Ok(Typed::number(functions::call(name, function, numbers)));
        }
        let most = if matches!(name, "round" | "power") { 2 } else { 1 };
        match name {
            "abs" | "floor" | "ceil" | "sqrt" | "exists" | "not" | "number" | "string" => {
                expects(1, 1)?;
            }
            "round" => expects(1, most)?,
            "power" => expects(2, most)?,
            _ => return Err(self.not_supported(format!("the function {shown}"))),
        }
        Ok(match name {
            "abs" => Typed::number(abs(self.number(&arguments[0], &shown)?)),
            "floor" => Typed::number(floor(self.number(&arguments[0], &shown)?)),
            "ceil" => Typed::number(ceil(self.number(&arguments[0], &shown)?)),
            "sqrt" => {
                let argument = self.number(&arguments[0], &shown)?;
                Typed::number(functions::call(name, functions::sqrt, vec![argument]))
            }
            "round" => {
                let value = self.number(&arguments[0], &shown)?;
                let digits = match arguments.get(1) {
                    Some(digits) => self.number(digits, &shown)?,
                    None => lit(0.0),
                };
                Typed::number(functions::call(name, functions::round, vec![value, digits]))
            }
            "power" => {
                let both =
                    vec![self.number(&arguments[0], &shown)?, self.number(&arguments[1], &shown)?];
                Typed::number(functions::call(name, functions::power, both))
            }
            "exists" => Typed::condition(self.node(&arguments[0])?.expr.is_not_null()),
            "not" => Typed::condition(not(self.condition(&arguments[0], &shown)?)),
            "number" => {
                let argument = self.node(&arguments[0])?;
                Typed::number(match argument.data_type {
                    Some(DataType::String) => try_cast(argument.expr, Arrow::Float64),
                    _ => as_number(argument),
                })
            }
            _ => Typed::text(as_text(self.node(&arguments[0])?)),
        })
    }

    fn number(&mut self, node: &AstNode, of: &str) -> Result<Expr, Error> {
        let typed = self.node(node)?;
        if typed.data_type == Some(DataType::String) {
            let problem = format!("{of} needs numbers, found a text");
            return Err(self.type_error(problem, Some("convert it with $number(...)")));
        }
        Ok(as_number(typed))
    }

    fn condition(&mut self, node: &AstNode, of: &str) -> Result<Expr, Error> {
        let typed = self.node(node)?;
        match typed.data_type {
            Some(DataType::Bool) => Ok(typed.expr),
            None => Ok(lit(ScalarValue::Boolean(None))),
            Some(_) => {
                let problem = format!("{of} needs conditions, found {}", typed.name());
                Err(self.type_error(problem, Some("compare it, as in 'x > 0'")))
            }
        }
    }

    fn wanted(&self, typed: Typed, want: Want) -> Result<Expr, Error> {
        let output = want.data_type();
        let fits = match (typed.data_type, output) {
            (None, _) => true,
            (Some(DataType::String), wanted) => wanted == DataType::String,
            (Some(_), DataType::String) => false,
            (Some(found), DataType::Bool) => found == DataType::Bool,
            (Some(_), _) => true,
        };
        if !fits {
            let (wanted, hint) = match output {
                DataType::Bool => ("a condition", "compare it, as in 'x > 0'"),
                DataType::String => ("a text", "convert it with $string(...)"),
                DataType::Double | DataType::Integer => {
                    ("a number", "convert it with $number(...)")
                }
            };
            let problem = format!("the result is {}, expected {wanted}", typed.name());
            return Err(self.type_error(problem, Some(hint)));
        }
        Ok(match typed.data_type {
            Some(found) if found == output => typed.expr,
            Some(DataType::Double) => try_cast(
                functions::call("round", functions::round, vec![typed.expr, lit(0.0)]),
                output.arrow(),
            ),
            _ => cast(typed.expr, output.arrow()),
        })
    }

    fn limit(&self, what: &'static str, found: usize, limit: usize) -> Result<(), Error> {
        if found <= limit {
            return Ok(());
        }
        Err(Error::Limit { expression: shown(self.text), what, found, limit })
    }

    fn not_supported(&self, what: impl Into<String>) -> Error {
        Error::NotSupported { expression: shown(self.text), what: what.into() }
    }

    fn type_error(&self, problem: String, hint: Option<&str>) -> Error {
        Error::Type { expression: shown(self.text), problem, hint: hint.map(str::to_owned) }
    }

    fn unknown(&self, name: &str) -> Error {
        Error::UnknownMetric {
            expression: shown(self.text),
            position: self.text.find(name),
            hint: names::hint(name, self.text, self.scope, '`'),
            name: name.to_owned(),
        }
    }
}

fn as_number(typed: Typed) -> Expr {
    match typed.data_type {
        Some(DataType::Double) => typed.expr,
        _ => cast(typed.expr, Arrow::Float64),
    }
}

fn as_text(typed: Typed) -> Expr {
    match typed.data_type {
        Some(DataType::String) => typed.expr,
        Some(DataType::Double) => functions::number_text(typed.expr),
        _ => cast(typed.expr, Arrow::Utf8),
    }
}

fn never_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Float64(Some(value)), _) if *value != 0.0)
}

fn describe(node: &AstNode) -> &'static str {
    match node {
        AstNode::Array(_) | AstNode::ArrayGroup(_) => "lists outside of $min, $max, $sum, $average",
        AstNode::Object(_) | AstNode::ObjectTransform { .. } => "objects",
        AstNode::Variable(_) | AstNode::ParentVariable(_) => "variables",
        AstNode::Lambda { .. } | AstNode::Call { .. } => "functions of one's own",
        AstNode::Regex { .. } => "regular expressions",
        AstNode::Block(_) => "blocks of several expressions",
        AstNode::Wildcard | AstNode::Descendant => "wildcards",
        AstNode::Parent(_) => "the parent operator",
        AstNode::Sort { .. } => "sorting",
        AstNode::Transform { .. } => "transforms",
        _ => "this form of JSONata",
    }
}
