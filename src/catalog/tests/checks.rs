//! What is said about documents that make no sense.

use super::*;

#[test]
fn syntax_errors_have_a_place() {
    check(
        "metadata: {key: pump}",
        "metadata: {key: pump",
        "f:4:5: while parsing a flow mapping, did not find expected ',' or '}'",
    );
}

#[test]
fn keys_are_known_or_come_later() {
    check(
        "metric: p_in\n",
        "metrc: p_in\n",
        "f:25:5: threshold_rules[0].metrc: unknown key 'metrc' in a threshold rule; did you mean 'metric'?",
    );
    check(
        "metadata: {key: pump}",
        "metadata: {key: pump, extends: base@1}",
        "f:3:23: metadata.extends: not supported yet: extends",
    );
    check("time: {", "interlocks: []\ntime: {", "f:4:1: interlocks: not supported yet: interlocks");
    check(
        "on_delay: PT5S}\n  - id",
        "latched: true}\n  - id",
        "f:27:55: threshold_rules[0].levels.warning.latched: not supported yet: latched",
    );
    check(
        "time: {out_of_order: PT5S}",
        "tyme: {}",
        "f:4:1: tyme: unknown key 'tyme' in an asset type; did you mean 'time'?",
    );
    check(
        "unit: bar, range: [0, 10]",
        "unit: bar, max_hold: PT5S, range: [0, 10]",
        "f:6:21: metric_definitions.p_in.max_hold: not supported yet: max_hold",
    );
    check(
        "  type: weighted_deductions",
        "  type: mmi",
        "f:18:3: health_algorithm.type: not supported yet: mmi",
    );
    check(
        "  type: weighted_deductions",
        "  type: magic",
        "f:18:3: health_algorithm.type: expected one of weighted_deductions, score_based, found the text 'magic'",
    );
    check(
        "  type: weighted_deductions\n",
        "",
        "f:17:1: health_algorithm: the key 'type' is missing: one of weighted_deductions, score_based",
    );
    check("kind: AssetTypeProfile\n", "", "f:1:1: the key 'kind' is missing in an asset type");
}

#[test]
fn values_have_the_right_shape() {
    check(
        "out_of_order: PT5S",
        "out_of_order: 5",
        "f:4:8: time.out_of_order: expected a duration such as PT30S, found the number 5",
    );
    check(
        "out_of_order: PT5S",
        "out_of_order: soon",
        "f:4:8: time.out_of_order: 'soon' is not a duration: give ISO 8601 (PT30S, P14D) or a human duration (250ms, 1h 30m)",
    );
    check(
        "range: [0, 10]",
        "range: [0]",
        "f:6:21: metric_definitions.p_in.range: expected a list of two values, found a list of 1",
    );
    check(
        "range: [0, 10]",
        "range: [0, .inf]",
        "f:6:32: metric_definitions.p_in.range[1]: expected a number, found the number .inf",
    );
    check(
        "{type: string}",
        "{type: text}",
        "f:8:11: metric_definitions.state.type: expected one of double, integer, bool, string, found the text 'text'",
    );
    check(
        "{type: string}",
        "string",
        "f:8:3: metric_definitions.state: expected a metric definition, found the text 'string'",
    );
    check(
        "{key: pump}",
        "{key: 12}",
        "f:3:12: metadata.key: expected a text, found the number 12; put it in quotes",
    );
    check(
        "source: pi,",
        "",
        "f:11:7: transformation_engine.mappings[0]: the key 'source' is missing in a mapping",
    );
    check(
        "deduct: 20",
        "deduct: lots",
        "f:20:46: health_algorithm.rules[0].deduct: expected a number, found the text 'lots'",
    );
    check(
        "op: gt",
        "op: above",
        "f:27:17: threshold_rules[0].levels.warning.op: expected one of gt, ge, lt, le, eq, ne, found the text 'above'",
    );
    check("{key: pump}", "{key: pump, key: pomp}", "f:3:23: the key 'key' is there twice");
    check("{key: pump}", "&a {key: *a}", "f:3:20: not supported yet: aliases (*name)");
}

#[test]
fn names_must_exist() {
    check(
        "target: p_in",
        "target: p_im",
        "f:11:8: transformation_engine.mappings[0].target: unknown metric 'p_im'; did you mean 'p_in'?",
    );
    check(
        "metric: p_in\n",
        "metric: p_im\n",
        "f:25:5: threshold_rules[0].metric: unknown metric 'p_im'; did you mean 'p_in'?",
    );
    check(
        "metric: dp, ramp",
        "metric: dq, ramp",
        "f:21:19: health_algorithm.rules[1].metric: unknown metric 'dq'; did you mean 'dp'?",
    );
    check(
        "{flow: 30}",
        "{flaw: 30}",
        "f:22:16: health_algorithm.group_caps.flaw: unknown group 'flaw'; did you mean 'flow'?",
    );
    check(
        "metrics.dp|1",
        "metrics.dq|1",
        "f:32:55: event_rules[0].message: unknown metric 'dq'; did you mean 'dp'?",
    );
    check(
        "expect: {dp: 2}",
        "expect: {dq: 2}",
        "f:34:55: tests[0].expect.dq: unknown metric 'dq'; did you mean 'dp'?",
    );
    check(
        "given: {pi: 100",
        "given: {p_in: 100",
        "f:34:26: tests[0].given.p_in: unknown source metric 'p_in'; known: pi, p_out, state",
    );
    check(
        "p_out - p_in",
        "p_out - p_im",
        "f:13:10: transformation_engine.derived.dp.expr: expression 'p_out - p_im': unknown metric 'p_im'; did you mean 'p_in'?",
    );
    check(
        "unit: bar}\n    half",
        "unit: bar, trigger: [p_im]}\n    half",
        "f:13:53: transformation_engine.derived.dp.trigger[0]: unknown metric 'p_im'; did you mean 'p_in'?",
    );
}

#[test]
fn units_must_exist_and_fit() {
    check(
        "from_unit: kPa",
        "from_unit: Cel",
        "f:11:34: transformation_engine.mappings[0].from_unit: 'Cel' cannot be converted to 'bar': they measure different things",
    );
    check(
        "p_out: {unit: bar}",
        "p_out: {unit: baar}",
        "f:7:11: metric_definitions.p_out.unit: 'baar' is not a UCUM unit; did you mean 'bar'?",
    );
    check(
        "p_out: {unit: bar}",
        "p_out: {unit: psi}",
        "f:7:11: metric_definitions.p_out.unit: 'psi' is not a UCUM unit; did you mean '[psi]'?",
    );
    check(
        "{type: string}",
        "{type: string, unit: bar}",
        "f:8:25: metric_definitions.state.unit: a string has no unit",
    );
}

#[test]
fn rules_must_make_sense() {
    check(
        "- id: stopped",
        "- id: high",
        "f:28:5: threshold_rules[1].id: the id 'high' is there twice",
    );
    check(
        "- id: stopped",
        "- id: all of it",
        "f:28:5: threshold_rules[1].id: 'all of it' is no key; use letters, digits, '.', '_' and '-', at most 128",
    );
    check(
        "\"dp / 2\"",
        "\"half / 2\"",
        "f:14:5: transformation_engine.derived.half: derived metrics go round in a circle: half -> half",
    );
    check(
        "\"p_out - p_in\"",
        "\"half - p_in\"",
        "f:13:5: transformation_engine.derived.dp: derived metrics go round in a circle: dp -> half -> dp",
    );
    check(
        "expr: \"dp / 2\"",
        "unit: bar",
        "f:14:5: transformation_engine.derived.half: exactly one of 'expr' and 'sql' is needed",
    );
    check(
        "tumbling: PT1M",
        "tumbling: PT2M",
        "f:16:42: aggregation_rules[0].window.tumbling: not supported yet: windows of 2m; use PT1M, PT5M, PT1H or P1D",
    );
    check(
        "op: gt, value: 5",
        "op: gt",
        "f:27:7: threshold_rules[0].levels.warning: 'op' needs 'value'",
    );
    check(
        "op: gt, value: 5",
        "value: 5",
        "f:27:7: threshold_rules[0].levels.warning: 'value' needs 'op'",
    );
    check(
        "  - id: high\n",
        "  - id: high\n    kind: absence\n",
        "f:28:7: threshold_rules[0].levels.warning: an absence compares nothing: leave out 'op', 'value' and 'deadband'",
    );
    check(
        "  - id: stopped\n    expr",
        "  - id: stopped\n    kind: absence\n    expr",
        "f:28:5: threshold_rules[1]: an absence is that of a 'metric': leave out 'expr' and 'sql'",
    );
    let silent = "expr: \"state = 'off'\"\n    levels: {critical: {on_delay: PT5S}}";
    check(
        silent,
        "kind: absence\n    metric: dp\n    levels: {critical: {on_delay: PT5S}}",
        "f:30:5: threshold_rules[1].metric: 'dp' is derived: only measured metrics can be absent",
    );
    check(
        silent,
        "kind: absence\n    metric: p_in\n    levels: {critical: {off_delay: PT5S}}",
        "f:31:14: threshold_rules[1].levels.critical: an absence needs 'on_delay': after how long a silence it begins\n\
         f:31:14: threshold_rules[1].levels.critical: a point ends an absence at once: leave out 'off_delay'",
    );
    check(
        silent,
        "kind: absence\n    metric: p_in\n    levels: {critical: {on_delay: PT5S}}",
        "valid",
    );
    check(
        "op: gt, value: 5",
        "op: eq, value: 5",
        "f:27:35: threshold_rules[0].levels.warning.deadband: a deadband needs an order: gt, ge, lt or le",
    );
    check(
        "op: gt, value: 5",
        "op: gt, value: high",
        "f:27:25: threshold_rules[0].levels.warning.value: a double is compared with the text 'high'",
    );
    check(
        "deadband: {abs: 1}",
        "deadband: {abs: 1, pct_of_value: 2}",
        "f:27:35: threshold_rules[0].levels.warning.deadband: exactly one of 'abs', 'pct_of_range' and 'pct_of_value' is needed",
    );
    check(
        "metric: p_in\n    levels:\n      warning: {op: gt, value: 5, deadband: {abs: 1}",
        "metric: p_out\n    levels:\n      warning: {op: gt, value: 5, deadband: {pct_of_range: 1}",
        "f:27:46: threshold_rules[0].levels.warning.deadband.pct_of_range: percent of a range that the metric does not have; give the metric a range, or use 'abs'",
    );
    check(
        "\"state = 'off'\"",
        "\"p_in\"",
        "f:30:14: threshold_rules[1].levels.critical: the level has no 'op' and 'value', and the expression is no condition",
    );
    check(
        "\"state = 'off'\"",
        "\"p_in +\"",
        "f:29:5: threshold_rules[1].expr: expression 'p_in +': S0207: Unexpected end of expression",
    );
    check(
        "{id: low, group: flow, when: \"dp < 1\", deduct: 20}",
        "{id: low, group: flow, deduct: 20}",
        "f:20:7: health_algorithm.rules[0]: exactly one of 'when', 'when_sql' and 'metric' is needed",
    );
    check("deduct: 20}", "}", "f:20:7: health_algorithm.rules[0]: 'when' needs 'deduct'");
    check(
        "range: [0, 10]",
        "range: [10, 0]",
        "f:6:21: metric_definitions.p_in.range: 10 is not less than 0",
    );
    check(
        "  type: weighted_deductions\n  rules:\n    - {id: low, group: flow, when: \"dp < 1\", deduct: 20}\n    - {id: slope, metric: dp, ramp: {from: {at: 1}, to: {at: 0, deduct: 30}}}\n  group_caps: {flow: 30}",
        "  type: score_based\n  combine: worst\n  scores:\n    - {metric: dp, weight: 0, points: [[0, 0], [0, 101]]}\n    - {expr: dp, points: []}",
        "f:21:20: health_algorithm.scores[0].weight: a weight is greater than 0\nf:21:48: health_algorithm.scores[0].points[1]: points ascend by value: 0 follows 0\nf:21:48: health_algorithm.scores[0].points[1]: a score is from 0 to 100, found 101\nf:22:7: health_algorithm.scores[1]: an expression needs an 'id'\nf:22:18: health_algorithm.scores[1].points: there is no point",
    );
}

#[test]
fn device_types_are_checked() {
    assert_eq!(problems(Kind::DeviceTypes, GAUGE), "valid");
    check_gauge(
        "metric: pi,",
        "metric: pi, path: $.pi,",
        "f:8:18: extraction_rules[0].path: not supported yet: path",
    );
    check_gauge(
        "identity:\n",
        "processing_mode: gateway\nidentity:\n",
        "f:4:1: processing_mode: not supported yet: gateway",
    );
    check_gauge(
        "identity:\n",
        "transports: []\nidentity:\n",
        "f:4:1: transports: not supported yet: transports",
    );
    check_gauge(
        r"'G-(\d+)'",
        "'G-(('",
        "f:5:3: identity.id_pattern: 'G-((' is no regular expression: unclosed group",
    );
    check_gauge(
        "metric: p_out",
        "metric: pi",
        "f:9:6: extraction_rules[1].metric: the metric 'pi' is there twice",
    );
    check_gauge(
        "unit: kPa",
        "unit: kilopascal",
        "f:8:32: extraction_rules[0].unit: 'kilopascal' is not a UCUM unit; did you mean 'Pa'?",
    );
    check_gauge(
        "{key: gauge}",
        "{key: a gauge}",
        "f:3:12: metadata.key: 'a gauge' is no key; use letters, digits, '.', '_' and '-', at most 128",
    );
}

#[test]
fn all_problems_are_told_and_limits_hold() {
    let text = PUMP.replace("op: gt", "op: above").replace("{type: string}", "{type: text}");
    assert_eq!(problems(Kind::AssetTypes, &text).lines().count(), 2);
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    told(Kind::AssetTypes, &deep, "f:1:35: nested deeper than 32 levels");
    let deeper = "[".repeat(100_000);
    assert!(problems(Kind::AssetTypes, &deeper).starts_with("f:1:"));
    let long = format!("# {}", "x".repeat(MAX_DOCUMENT_BYTES));
    told(Kind::AssetTypes, &long, "f: the file has 262146 bytes, the limit is 262144");
    let many: String = (0..257).map(|i| format!("  m{i}: {{}}\n")).collect();
    let many = PUMP.replace("  state: {type: string}\n", &many);
    assert!(problems(Kind::AssetTypes, &many).contains("the limit is 256"));
    told(Kind::AssetTypes, "", "f:1:1: the document is empty");
    told(
        Kind::Links,
        "- {device: a, asset: b}\n- {device: a}\n- {device: a, asset: b}",
        "f:2:3: [1]: the key 'asset' is missing in a link\nf:3:3: the key 'a->b' is there twice",
    );
}
