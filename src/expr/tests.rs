//! Both surfaces, through one table; and random arithmetic against an evaluation of its own.

use super::*;
use crate::model::DataType;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use std::sync::Arc;

fn scope() -> Scope {
    let fields = [
        ("p_in", DataType::Double),
        ("flow", DataType::Double),
        ("P-PDG", DataType::Double),
        ("starts", DataType::Integer),
        ("running", DataType::Bool),
        ("state", DataType::String),
        ("speed (rpm)", DataType::Double),
    ];
    Scope { fields: fields.map(|(name, data_type)| (name.into(), data_type)).into() }
}

/// Three rows; the last one has no values but those of `flow` and `state`.
fn columns() -> Vec<ArrayRef> {
    vec![
        Arc::new(Float64Array::from(vec![Some(10.0), Some(2.5), None])),
        Arc::new(Float64Array::from(vec![Some(4.0), Some(0.0), Some(-1.0)])),
        Arc::new(Float64Array::from(vec![Some(7.0), Some(8.0), None])),
        Arc::new(Int64Array::from(vec![Some(3), Some(0), None])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(StringArray::from(vec!["on", "off", "12"])),
        Arc::new(Float64Array::from(vec![Some(1.0), Some(1.0), None])),
    ]
}

fn run(source: Source<'_>, want: Want) -> Result<String, Error> {
    let compiled = compile(source, &scope(), want)?;
    let columns: Vec<ArrayRef> =
        compiled.inputs().iter().map(|i| Arc::clone(&columns()[*i])).collect();
    let values = compiled.evaluate(&columns, 3)?;
    assert_eq!(*values.data_type(), want.data_type().arrow());
    let options = arrow::util::display::FormatOptions::default().with_null("null");
    let formatter = arrow::util::display::ArrayFormatter::try_new(&values, &options).unwrap();
    let texts: Vec<String> = (0..3).map(|i| formatter.value(i).to_string()).collect();
    Ok(texts.join(" "))
}

fn check(source: Source<'_>, want: Want, expected: &str) {
    let found = match run(source, want) {
        Ok(values) => values,
        Err(error) => match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        },
    };
    assert_eq!(found, expected, "{}", source.text());
}

fn number(text: &str, expected: &str) {
    check(Source::Jsonata(text), Want::Number(DataType::Double), expected);
}

fn condition(text: &str, expected: &str) {
    check(Source::Jsonata(text), Want::Condition, expected);
}

fn text(text: &str, expected: &str) {
    check(Source::Jsonata(text), Want::Value(DataType::String), expected);
}

fn sql(text: &str, want: Want, expected: &str) {
    check(Source::Sql(text), want, expected);
}

#[test]
fn arithmetic_is_of_floats_and_missing_values_stay_missing() {
    number("metrics.p_in - flow", "6.0 2.5 null");
    number("metrics.`P-PDG` * 2 + 1", "15.0 17.0 null");
    number("`speed (rpm)` + `P-PDG`", "8.0 9.0 null");
    number("metrics.starts / 2", "1.5 0.0 null");
    number("running + 1", "2.0 1.0 null");
    number("-(p_in)", "-10.0 -2.5 null");
    number("p_in / flow", "2.5 null null");
    number("p_in % flow", "2.0 null null");
    number("-7 % 4", "-3.0 -3.0 -3.0");
    number("1e308 * 10 * flow", "null null null");
    number("null", "null null null");
    number("42", "42.0 42.0 42.0");
}

#[test]
fn functions_skip_what_is_missing() {
    number("$max([p_in, flow, 0])", "10.0 2.5 0.0");
    number("$min([p_in, flow])", "4.0 0.0 -1.0");
    number("$sum([p_in, flow])", "14.0 2.5 -1.0");
    number("$average([p_in, flow])", "7.0 1.25 -1.0");
    number("$average([p_in])", "10.0 2.5 null");
    number("$round(2.5) + $round(3.5) + $round(-0.4)", "6.0 6.0 6.0");
    number("$round(p_in / 3, 2)", "3.33 0.83 null");
    number("$round(123.4, -1)", "120.0 120.0 120.0");
    number("$abs(flow) + $floor(1.7) + $ceil(1.2)", "7.0 3.0 4.0");
    number("$sqrt(flow)", "2.0 0.0 null");
    number("$power(flow, 2)", "16.0 0.0 1.0");
    number("$power(flow, -1)", "0.25 null -1.0");
    number("$number(state)", "null null 12.0");
    condition("$exists(p_in)", "true true false");
    condition("$not(running)", "false true null");
}

#[test]
fn conditions_follow_three_valued_logic() {
    condition("p_in > 5", "true false null");
    condition("p_in > 5 or flow < 0", "true false true");
    condition("p_in > 5 and flow < 0", "false false null");
    condition("state = 'on'", "true false false");
    condition("running = true", "true false null");
    condition("starts != 0", "true false null");
    condition("running = 1", "true false null");
    condition("p_in = null", "false false true");
    condition("p_in / flow > 1", "true null null");
    number("running ? p_in : -1", "10.0 -1.0 -1.0");
    number("flow > 0 ? p_in", "10.0 null null");
    number("p_in > 5 ? null : 1", "null 1.0 1.0");
}

#[test]
fn texts_are_joined_and_numbers_printed_short() {
    text("state & ' ' & p_in", "on 10 off 2.5 12 ");
    text("$string(starts) & $string(running)", "3true 0false ");
    text("flow > 0 ? 'up' : 'down'", "up down down");
}

#[test]
fn results_have_the_wanted_type() {
    check(Source::Jsonata("p_in / 4"), Want::Number(DataType::Integer), "2 1 null");
    check(Source::Jsonata("starts"), Want::Value(DataType::Integer), "3 0 null");
    check(Source::Jsonata("running"), Want::Number(DataType::Double), "1.0 0.0 null");
    check(Source::Jsonata("running"), Want::Value(DataType::Bool), "true false null");
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    for (expression, expected) in [
        ("p_im + 1", "expression 'p_im + 1': unknown metric 'p_im'; did you mean 'p_in'?"),
        (
            "metrics.P-PDG + 1",
            "expression 'metrics.P-PDG + 1': unknown metric 'P'; quote the name: `P-PDG`",
        ),
        (
            "zzzzzz",
            "expression 'zzzzzz': unknown metric 'zzzzzz'; known: p_in, flow, P-PDG, starts, running, state, speed (rpm)",
        ),
        (
            "state + 1",
            "expression 'state + 1': '+' needs numbers, found a text; convert it with $number(...)",
        ),
        (
            "state > 1",
            "expression 'state > 1': '>' compares a text with a number; convert one side with $number(...) or $string(...)",
        ),
        (
            "p_in and true",
            "expression 'p_in and true': 'and' needs conditions, found a number; compare it, as in 'x > 0'",
        ),
        (
            "state",
            "expression 'state': the result is a text, expected a number; convert it with $number(...)",
        ),
        (
            "$rate('p_in', 'PT5M')",
            "expression '$rate('p_in', 'PT5M')': not supported yet: the function $rate()",
        ),
        (
            "attributes.sg",
            "expression 'attributes.sg': not supported yet: 'attributes' in expressions",
        ),
        (
            "[1, 2]",
            "expression '[1, 2]': not supported yet: lists outside of $min, $max, $sum, $average",
        ),
        (
            "$max(p_in)",
            "expression '$max(p_in)': not supported yet: $max() of anything but a list such as [a, b]",
        ),
        (
            "($x := 1; $x)",
            "expression '($x := 1; $x)': not supported yet: blocks of several expressions",
        ),
        ("p_in[0]", "expression 'p_in[0]': not supported yet: filters and bindings in a path"),
        ("$power(1)", "expression '$power(1)': $power() takes 2 to 2 arguments, found 1"),
    ] {
        number(expression, expected);
    }
}

#[test]
fn limits_hold() {
    let long = format!("p_in{}", " ".repeat(MAX_LENGTH));
    let wide = vec!["1"; 600].join(" + ");
    let chain = vec!["p_in"; 60].join(" + ");
    let deep = format!("{}1{}", "(".repeat(300), ")".repeat(300));
    let deeper = format!("{}1{}", "(".repeat(30_000), ")".repeat(30_000));
    let number = Want::Number(DataType::Double);
    for text in [&long, &wide, &deep, &deeper] {
        assert!(compile(Source::Jsonata(text), &scope(), number).is_err());
        assert!(compile(Source::Sql(text), &scope(), number).is_err());
    }
    assert_eq!(run(Source::Sql(&chain), number).unwrap(), "600.0 150.0 null");
    assert_eq!(run(Source::Jsonata(&chain), number).unwrap(), "600.0 150.0 null");
}

#[test]
fn sql_reads_metrics_as_columns() {
    let double = Want::Number(DataType::Double);
    sql("(p_in - flow) / nullif(flow, 0)", double, "1.5 null null");
    sql("\"P-PDG\" * 2", double, "14.0 16.0 null");
    sql("p_in > 5 AND running", Want::Condition, "true false null");
    sql(
        "CASE WHEN flow > 0 THEN 'up' ELSE upper(state) END",
        Want::Value(DataType::String),
        "up OFF 12",
    );
    sql("starts + 1", Want::Number(DataType::Integer), "4 1 null");
    sql("coalesce(p_in, flow)", double, "10.0 2.5 -1.0");
    sql("p_im + 1", double, "expression 'p_im + 1': unknown metric 'p_im'; did you mean 'p_in'?");
    sql("P-PDG", double, "expression 'P-PDG': unknown metric 'P'; quote the name: \"P-PDG\"");
    sql(
        "random()",
        double,
        "expression 'random()': not supported yet: random(), which depends on more than the row",
    );
    sql(
        "avg(p_in)",
        double,
        "expression 'avg(p_in)': not supported yet: the aggregate function avg()",
    );
    sql("p_in", Want::Condition, "expression 'p_in': the result is Float64, expected a condition");
    for text in ["(SELECT 1)", "p_in; DROP TABLE x", "p_in +", "now()", "p_in IN (SELECT 1)", ""] {
        assert!(compile(Source::Sql(text), &scope(), double).is_err(), "{text}");
    }
}

#[test]
fn bad_rows_do_not_spoil_good_ones() {
    let compiled =
        compile(Source::Sql("cast(state AS double)"), &scope(), Want::Number(DataType::Double))
            .unwrap();
    let states: ArrayRef = Arc::new(StringArray::from(vec!["1", "x", "3", "4", "y"]));
    assert!(compiled.evaluate(&[Arc::clone(&states)], 5).is_err());
    let (values, errors) = compiled.evaluate_rows(&[states], 5);
    let expected: ArrayRef =
        Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0), Some(4.0), None]));
    assert_eq!(&values, &expected);
    assert_eq!(errors.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn inputs_are_the_metrics_that_are_read() {
    let compiled =
        compile(Source::Jsonata("flow + flow - p_in"), &scope(), Want::Number(DataType::Double))
            .unwrap();
    assert_eq!(compiled.inputs(), [0, 1]);
    assert!(compiled.evaluate(&[], 3).is_err(), "columns are missing");
    let constant = compile(Source::Jsonata("1 < 2"), &scope(), Want::Condition).unwrap();
    assert!(constant.inputs().is_empty());
    assert_eq!(constant.evaluate(&[], 2).unwrap().len(), 2);
}

/// Random arithmetic: the text for the compiler and, beside it, what it must give.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn arithmetic(&mut self, depth: usize, row: &[f64; 2]) -> (String, Option<f64>) {
        if depth == 0 {
            return match self.next(3) {
                0 => ("p_in".into(), Some(row[0])),
                1 => ("metrics.flow".into(), Some(row[1])),
                _ => {
                    let literal = self.next(100) as f64 / 4.0;
                    (format!("{literal}"), Some(literal))
                }
            };
        }
        let (a, x) = self.arithmetic(depth - 1, row);
        let (b, y) = self.arithmetic(depth - 1, row);
        let both = x.zip(y);
        let present = |of: fn(f64, f64) -> f64| match (x, y) {
            (Some(x), Some(y)) => Some(of(x, y)),
            (one, other) => one.or(other),
        };
        match self.next(7) {
            0 => (format!("({a} + {b})"), both.map(|(x, y)| x + y)),
            1 => (format!("({a} - {b})"), both.map(|(x, y)| x - y)),
            2 => (format!("({a} * {b})"), both.map(|(x, y)| x * y)),
            3 => (format!("({a} / {b})"), both.filter(|(_, y)| *y != 0.0).map(|(x, y)| x / y)),
            4 => (format!("$max([{a}, {b}])"), present(f64::max)),
            5 => (
                format!("({a} > {b} ? {a} : {b})"),
                if both.is_some_and(|(x, y)| x > y) { x } else { y },
            ),
            _ => (format!("$abs({a})"), x.map(f64::abs)),
        }
    }
}

#[test]
fn random_arithmetic_agrees_with_an_evaluation_of_its_own() {
    let seed = 0x5eed_0001_u64;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for case in 0..300 {
        let row = [random.next(400) as f64 / 8.0 - 20.0, random.next(5) as f64 - 2.0];
        let depth = 1 + random.next(4) as usize;
        let (text, expected) = random.arithmetic(depth, &row);
        let compiled =
            compile(Source::Jsonata(&text), &scope(), Want::Number(DataType::Double)).unwrap();
        let all = [row[0], row[1]];
        let columns: Vec<ArrayRef> = (compiled.inputs().iter())
            .map(|i| Arc::new(Float64Array::from(vec![all[*i]])) as ArrayRef)
            .collect();
        let found = compiled.evaluate(&columns, 1).unwrap();
        let expected: ArrayRef =
            Arc::new(Float64Array::from(vec![expected.filter(|value| value.is_finite())]));
        assert_eq!(&found, &expected, "seed {seed:#x} case {case}: {text} of {row:?}");
    }
}
