//! What must hold inside an asset type beyond its shape: names exist, units fit, expressions
//! compile, derived metrics do not go round in circles.

use super::asset_type::{AssetType, Mapping};
use super::layout::Layout;
use super::problem::Problem;
use super::read::MAX_METRICS;
use super::units::{self, UnitError, convert};
use super::yaml::{element, member};
use super::{check_health, check_rules};
use crate::expr::{self, Compiled, Scope, Source, Want, nearest};
use crate::model::{DataType, Window};
use std::collections::HashSet;

/// Everything that is wrong with an asset type by itself. Paths, no places.
pub(super) fn asset_type(document: &AssetType) -> Vec<Problem> {
    let layout = Layout::of(document);
    let fields = layout.slots.iter().map(|slot| (slot.name.clone(), slot.data_type)).collect();
    let mut check = Check { document, layout, scope: Scope { fields }, problems: Vec::new() };
    check.type_key();
    check.metrics();
    if check.layout.slots.len() > MAX_METRICS {
        return check.problems;
    }
    check.mappings();
    check.derived();
    check.aggregations();
    check_health::health(&mut check);
    check_rules::thresholds(&mut check);
    check_rules::events(&mut check);
    check_rules::tests(&mut check);
    check.problems
}

pub(super) struct Check<'a> {
    pub document: &'a AssetType,
    pub layout: Layout,
    pub scope: Scope,
    pub problems: Vec<Problem>,
}

impl Check<'_> {
    pub fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::at(path, message));
    }

    pub fn problem_with_hint(&mut self, path: &str, message: String, hint: Option<&str>) {
        let problem = Problem::at(path, message);
        self.problems.push(match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }

    /// The type of a metric; a problem when there is none of that name.
    pub fn metric(&mut self, path: &str, name: &str) -> Option<DataType> {
        if let Some(place) = self.layout.position(name) {
            return Some(self.layout.slots[place].data_type);
        }
        let known: Vec<String> = self.layout.slots.iter().map(|slot| slot.name.clone()).collect();
        self.unknown(path, "metric", name, known.iter().map(String::as_str));
        None
    }

    /// A problem with the name that was probably meant.
    pub fn unknown<'n>(
        &mut self,
        path: &str,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str>,
    ) {
        let known: Vec<&str> = known.collect();
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean '{near}'?"),
            None if known.is_empty() => format!("there is no {what} here"),
            None => {
                let shown: Vec<&str> = known.iter().take(8).copied().collect();
                let more = if shown.len() < known.len() { ", ..." } else { "" };
                format!("known: {}{more}", shown.join(", "))
            }
        };
        self.problem_with_hint(path, format!("unknown {what} '{name}'"), Some(&hint));
    }

    pub fn compile(&mut self, path: &str, source: Source<'_>, want: Want) -> Option<Compiled> {
        match expr::compile(source, &self.scope, want) {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                let hint = error.hint().map(str::to_owned);
                self.problem_with_hint(path, error.to_string(), hint.as_deref());
                None
            }
        }
    }

    /// Ids are unique, and made of the characters of keys.
    pub fn ids<'n>(&mut self, list: &str, key: &str, ids: impl Iterator<Item = &'n str>) {
        let mut seen = HashSet::new();
        for (i, id) in ids.enumerate() {
            let path = member(&element(list, i), key);
            if !plain_key(id) {
                self.bad_key(&path, id);
            } else if !seen.insert(id) {
                self.problem(&path, format!("the {key} '{id}' is there twice"));
            }
        }
    }

    pub fn unit_error(&mut self, path: &str, error: &UnitError) {
        self.problem_with_hint(path, error.to_string(), error.hint());
    }

    fn bad_key(&mut self, path: &str, key: &str) {
        let hint = "use letters, digits, '.', '_' and '-', at most 128";
        self.problem_with_hint(path, format!("'{key}' is no key"), Some(hint));
    }

    fn type_key(&mut self) {
        let key = &self.document.metadata.key;
        if !plain_key(key) {
            self.bad_key("metadata.key", key);
        }
    }

    fn metrics(&mut self) {
        let document = self.document;
        if document.metric_definitions.is_empty() {
            self.problem("metric_definitions", "there is no metric");
        }
        let all = self.layout.slots.len();
        if all > MAX_METRICS {
            let message = format!("there are {all} metrics, the limit is {MAX_METRICS}");
            self.problem("metric_definitions", message);
        }
        for (name, metric) in &document.metric_definitions {
            let path = member("metric_definitions", name);
            self.metric_name(&path, name);
            self.unit(&path, metric.unit.as_deref(), metric.data_type);
            let Some((least, greatest)) = metric.range else { continue };
            let path = member(&path, "range");
            if !metric.data_type.is_number() {
                self.problem(&path, format!("a {} has no range", metric.data_type));
            } else if least >= greatest {
                self.problem(&path, format!("{least} is not less than {greatest}"));
            }
        }
        for (name, derived) in &document.transformation_engine.derived {
            let path = member("transformation_engine.derived", name);
            self.metric_name(&path, name);
            self.unit(&path, derived.unit.as_deref(), derived.data_type);
            if document.metric_definitions.contains_key(name) {
                self.problem(&path, format!("'{name}' is a measured metric already"));
            }
        }
    }

    fn metric_name(&mut self, path: &str, name: &str) {
        let fits = !name.trim().is_empty()
            && name.chars().count() <= 128
            && !name.chars().any(|c| c.is_control() || matches!(c, '`' | '"'));
        if !fits {
            let hint = "use at most 128 characters, no control characters and no quotes";
            self.problem_with_hint(path, format!("'{name}' is no metric name"), Some(hint));
        }
    }

    fn unit(&mut self, path: &str, unit: Option<&str>, data_type: DataType) {
        let Some(unit) = unit else { return };
        let path = member(path, "unit");
        if !data_type.is_number() {
            self.problem(&path, format!("a {data_type} has no unit"));
        } else if let Err(error) = units::validate(unit) {
            self.unit_error(&path, &error);
        }
    }

    fn mappings(&mut self) {
        let document = self.document;
        let mut seen = HashSet::new();
        for (i, mapping) in document.transformation_engine.mappings.iter().enumerate() {
            let path = element("transformation_engine.mappings", i);
            let target = member(&path, "target");
            if document.transformation_engine.derived.contains_key(&mapping.target) {
                self.problem(&target, format!("'{}' is a derived metric", mapping.target));
                continue;
            }
            if self.metric(&target, &mapping.target).is_none() {
                continue;
            }
            if !seen.insert(mapping.target.as_str()) {
                let message = format!("'{}' has a mapping already", mapping.target);
                self.problem(&target, message);
            }
            self.unit_of_source(&path, mapping);
        }
    }

    fn unit_of_source(&mut self, path: &str, mapping: &Mapping) {
        let Some(from) = &mapping.from_unit else { return };
        let path = member(path, "from_unit");
        let unit = (self.document.metric_definitions.get(&mapping.target))
            .and_then(|metric| metric.unit.clone());
        match unit {
            None => self.problem(&path, format!("the metric '{}' has no unit", mapping.target)),
            // A unit of the metric that is unknown is told where it stands.
            Some(unit) if units::validate(&unit).is_err() => {}
            Some(unit) => {
                if let Err(error) = convert(from, &unit) {
                    self.unit_error(&path, &error);
                }
            }
        }
    }

    fn derived(&mut self) {
        let document = self.document;
        let measured = self.layout.measured;
        let mut reads: Vec<Vec<usize>> = Vec::new();
        for (name, derived) in &document.transformation_engine.derived {
            let path = member("transformation_engine.derived", name);
            let want = Want::Value(derived.data_type);
            let compiled = match (&derived.expr, &derived.sql) {
                (Some(expr), None) => {
                    self.compile(&member(&path, "expr"), Source::Jsonata(expr), want)
                }
                (None, Some(sql)) => self.compile(&member(&path, "sql"), Source::Sql(sql), want),
                _ => {
                    self.problem(&path, "exactly one of 'expr' and 'sql' is needed");
                    None
                }
            };
            for (i, trigger) in derived.trigger.iter().flatten().enumerate() {
                self.metric(&element(&member(&path, "trigger"), i), trigger);
            }
            let inputs = compiled.as_ref().map(|compiled| compiled.inputs().to_vec());
            if compiled.is_some() && inputs.as_ref().is_some_and(Vec::is_empty) {
                self.problem(&path, "the expression reads no metric");
            }
            reads.push(inputs.unwrap_or_default());
        }
        let mut reported = HashSet::new();
        for start in 0..reads.len() {
            let Some(cycle) = cycle(&reads, measured, start) else { continue };
            let mut members = cycle.clone();
            members.sort_unstable();
            if reported.insert(members) {
                let name = |i: usize| self.layout.slots[measured + i].name.as_str();
                let mut names: Vec<&str> = cycle.iter().map(|i| name(*i)).collect();
                names.push(name(cycle[0]));
                let path = member("transformation_engine.derived", names[0]);
                let message =
                    format!("derived metrics go round in a circle: {}", names.join(" -> "));
                self.problem(&path, message);
            }
        }
    }

    fn aggregations(&mut self) {
        let document = self.document;
        let rules = document.aggregation_rules.as_deref().unwrap_or_default();
        self.ids("aggregation_rules", "key", rules.iter().map(|rule| rule.key.as_str()));
        for (i, rule) in rules.iter().enumerate() {
            let path = element("aggregation_rules", i);
            if rule.metric != "*" {
                let message = "not supported yet: roll-ups of a single metric";
                let hint = "write metric: \"*\"";
                self.problem_with_hint(&member(&path, "metric"), message.into(), Some(hint));
            }
            if !Window::ALL.iter().any(|window| window.size() == rule.window.tumbling) {
                let message = format!("not supported yet: windows of {}", rule.window.tumbling);
                let hint = "use PT1M, PT5M, PT1H or P1D";
                self.problem_with_hint(&member(&path, "window.tumbling"), message, Some(hint));
            }
        }
    }
}

/// Whether a text can be the key of a type or the id of a rule.
pub(super) fn plain_key(key: &str) -> bool {
    (1..=128).contains(&key.len())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Whether a text can be the key of an asset or a device: what devices call themselves.
pub(super) fn thing_key(key: &str) -> bool {
    (1..=256).contains(&key.len())
        && key.trim() == key
        && !key.chars().any(char::is_control)
        && !key.contains("->")
}

/// A circle of derived metrics that begins and ends at one of them.
fn cycle(reads: &[Vec<usize>], measured: usize, start: usize) -> Option<Vec<usize>> {
    let mut path = vec![start];
    let mut next = vec![0];
    let mut visited = vec![false; reads.len()];
    while let (Some(&at), Some(i)) = (path.last(), next.last_mut()) {
        let Some(&input) = reads[at].get(*i) else {
            path.pop();
            next.pop();
            continue;
        };
        *i += 1;
        let Some(input) = input.checked_sub(measured) else { continue };
        if input == start {
            return Some(path);
        }
        if !visited[input] {
            visited[input] = true;
            path.push(input);
            next.push(0);
        }
    }
    None
}
