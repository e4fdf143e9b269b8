//! A plan: an asset type document, compiled once. Names are gone, expressions are vectorised.

use super::event::EventPlan;
use super::level::RulePlan;
use super::row::RowLayout;
use super::score::HealthPlan;
use crate::catalog::Layout;
use crate::catalog::asset_type::{AssetType, Derived};
use crate::expr::{self, Compiled, Scope, Source, Want};
use crate::model::{DataType, TypeId, Window, mask_words};
use std::sync::Arc;

/// Everything that [`super::TypeState`] has to know of a version of an asset type.
#[derive(Clone)]
pub struct Plan {
    pub(super) id: TypeId,
    pub(super) key: Arc<str>,
    pub(super) version: u32,
    pub(super) layout: Layout,
    /// The names of the metrics, by slot.
    pub(super) names: Vec<Arc<str>>,
    pub(super) rows: RowLayout,
    /// Microseconds behind the newest event time; see [`crate::catalog::asset_type::TimeRules`].
    pub(super) hot_horizon: i64,
    pub(super) out_of_order: i64,
    /// Derived metrics, inputs before outputs.
    pub(super) derived: Vec<DerivedPlan>,
    /// Expressions of rules: their values stand behind the metrics in each row.
    pub(super) hidden: Vec<HiddenPlan>,
    /// The measured metrics that expressions read, ascending.
    pub(super) read: Vec<usize>,
    /// The measured ones among all metrics, as a mask.
    pub(super) measured_touched: Vec<u64>,
    /// All metrics, measured and derived, as a mask.
    pub(super) all_metrics: Vec<u64>,
    pub(super) numeric: Vec<usize>,
    /// The same as a mask, when all of them are doubles.
    pub(super) numeric_doubles: Option<Vec<u64>>,
    pub(super) windows: Vec<Window>,
    pub(super) rules: Vec<RulePlan>,
    /// Where the rules look, when all of them look at metrics and nothing else has a state.
    pub(super) watched: Option<Vec<usize>>,
    pub(super) events: Vec<EventPlan>,
    pub(super) health: Option<HealthPlan>,
    /// What it was compiled from.
    pub(super) document: Arc<AssetType>,
}

/// A derived metric.
#[derive(Clone)]
pub(super) struct DerivedPlan {
    pub slot: usize,
    pub expr: Compiled,
    /// The metrics whose points cause a new value, as a mask.
    pub trigger: Vec<u64>,
}

/// An expression of a rule.
#[derive(Clone)]
pub(super) struct HiddenPlan {
    /// The rule, for the `errors` view.
    pub source: Arc<str>,
    pub expr: Compiled,
    /// Where its value stands.
    pub to: Input,
}

/// Where a rule's value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Input {
    Metric(usize),
    /// The result of an expression: a number.
    Number(usize),
    /// The result of an expression: true or false.
    Condition(usize),
}

/// Why a document gives no plan. The catalog refuses such documents, so that this tells a bug or
/// a log written by another version.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An expression does not compile.
    #[error("asset type '{key}': {place}: {source}")]
    Expression {
        /// The document's key.
        key: String,
        /// Where in the document.
        place: String,
        /// What is wrong.
        source: expr::Error,
    },
    /// A name that is no metric.
    #[error("asset type '{key}': {place}: no metric '{metric}'")]
    Metric {
        /// The document's key.
        key: String,
        /// Where in the document.
        place: String,
        /// The name.
        metric: String,
    },
    /// Derived metrics that need each other.
    #[error("asset type '{key}': derived metrics form a cycle: {cycle}")]
    Cycle {
        /// The document's key.
        key: String,
        /// The metrics of the cycle.
        cycle: String,
    },
}

/// Compiles one document.
pub(super) struct Compiler<'a> {
    key: &'a str,
    layout: Layout,
    scope: Scope,
    hidden: Vec<HiddenPlan>,
    numbers: usize,
    conditions: usize,
}

impl Plan {
    /// Compiles a version of a document.
    pub fn compile(
        id: TypeId,
        key: &str,
        version: u32,
        document: &AssetType,
    ) -> Result<Self, PlanError> {
        let layout = Layout::of(document);
        let fields = layout.slots.iter().map(|slot| (slot.name.clone(), slot.data_type)).collect();
        let mut compiler = Compiler {
            key,
            layout,
            scope: Scope { fields },
            hidden: Vec::new(),
            numbers: 0,
            conditions: 0,
        };
        let derived = compiler.derived(document)?;
        let rules = RulePlan::compile_all(document, &mut compiler)?;
        let events = EventPlan::compile_all(document, &mut compiler)?;
        let health = HealthPlan::compile(document, &mut compiler)?;
        let Compiler { layout, hidden, numbers, conditions, .. } = compiler;
        let holds = health.as_ref().map_or(0, HealthPlan::holds);
        let metrics = layout.slots.len();
        let rows = RowLayout::new(metrics, (numbers, conditions), rules.len(), events.len(), holds);
        let exprs = derived.iter().map(|derived| &derived.expr);
        let exprs = exprs.chain(hidden.iter().map(|hidden| &hidden.expr));
        let mut read: Vec<usize> = exprs.flat_map(|expr| expr.inputs().iter().copied()).collect();
        read.retain(|slot| *slot < layout.measured);
        read.sort_unstable();
        read.dedup();
        Ok(Self {
            id,
            key: key.into(),
            version,
            names: layout.slots.iter().map(|slot| slot.name.as_str().into()).collect(),
            measured_touched: mask_of(0..layout.measured, metrics),
            all_metrics: mask_of(0..metrics, metrics),
            numeric_doubles: {
                let mut numeric = layout.numeric().into_iter();
                let doubles = numeric.all(|slot| layout.slots[slot].data_type == DataType::Double);
                doubles.then(|| mask_of(layout.numeric(), metrics))
            },
            numeric: layout.numeric(),
            windows: document.windows(),
            hot_horizon: document.time.hot_horizon.0,
            out_of_order: document.time.out_of_order.0,
            rows,
            layout,
            derived,
            hidden,
            read,
            watched: {
                let slots = rules.iter().map(|rule| match rule.input {
                    Input::Metric(slot) => Some(slot),
                    Input::Number(_) | Input::Condition(_) => None,
                });
                slots.collect::<Option<_>>().filter(|_| events.is_empty() && holds == 0)
            },
            rules,
            events,
            health,
            document: Arc::new(document.clone()),
        })
    }

    /// The number of measured metrics: the slots of the [`crate::model::Rows`] it takes.
    pub fn measured(&self) -> usize {
        self.layout.measured
    }

    /// The mask of a row in which all measured metrics have points.
    pub(super) fn measured_mask(&self) -> Vec<u64> {
        mask_of(0..self.measured(), self.measured())
    }

    /// The mask of all metrics, measured and derived.
    pub(super) fn all_mask(&self) -> Vec<u64> {
        self.all_metrics.clone()
    }
}

impl Compiler<'_> {
    /// The slot of a metric.
    pub fn metric(&self, place: &str, name: &str) -> Result<usize, PlanError> {
        self.layout.position(name).ok_or_else(|| PlanError::Metric {
            key: self.key.into(),
            place: place.into(),
            metric: name.into(),
        })
    }

    /// What is known of the slot of a metric.
    pub fn slot(&self, slot: usize) -> &crate::catalog::Slot {
        &self.layout.slots[slot]
    }

    /// Adds an expression of a rule.
    pub fn hidden(&mut self, rule: &str, source: Source, want: Want) -> Result<Input, PlanError> {
        let expr = self.expression(rule, source, want)?;
        let to = match want {
            Want::Condition => Input::Condition(self.conditions),
            Want::Number(_) | Want::Value(_) => Input::Number(self.numbers),
        };
        match to {
            Input::Condition(_) => self.conditions += 1,
            _ => self.numbers += 1,
        }
        self.hidden.push(HiddenPlan { source: rule.into(), expr, to });
        Ok(to)
    }

    fn expression(&self, place: &str, source: Source, want: Want) -> Result<Compiled, PlanError> {
        expr::compile(source, &self.scope, want).map_err(|source| PlanError::Expression {
            key: self.key.into(),
            place: place.into(),
            source,
        })
    }

    /// Compiles the derived metrics and orders them so that inputs come first.
    fn derived(&self, document: &AssetType) -> Result<Vec<DerivedPlan>, PlanError> {
        let mut waiting = Vec::new();
        for (name, derived) in &document.transformation_engine.derived {
            let slot = self.metric(name, name)?;
            let expr = self.expression(name, source_of(derived), want(derived.data_type))?;
            let triggers: Vec<usize> = match &derived.trigger {
                None => expr.inputs().to_vec(),
                Some(names) => {
                    names.iter().map(|n| self.metric(name, n)).collect::<Result<_, _>>()?
                }
            };
            let trigger = mask_of(triggers, self.layout.slots.len());
            waiting.push(DerivedPlan { slot, expr, trigger });
        }
        let mut ordered: Vec<DerivedPlan> = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let known = |slot: &usize| {
                *slot < self.layout.measured || ordered.iter().any(|d| d.slot == *slot)
            };
            let ready = |plan: &DerivedPlan| {
                let triggers = (0..self.layout.slots.len())
                    .filter(|slot| plan.trigger[slot / 64] >> (slot % 64) & 1 == 1);
                plan.expr.inputs().iter().copied().chain(triggers).all(|slot| known(&slot))
            };
            let Some(next) = waiting.iter().position(ready) else {
                let names = waiting.iter().map(|plan| self.layout.slots[plan.slot].name.as_str());
                let cycle = names.collect::<Vec<_>>().join(", ");
                return Err(PlanError::Cycle { key: self.key.into(), cycle });
            };
            ordered.push(waiting.remove(next));
        }
        Ok(ordered)
    }
}

/// A mask for so many slots, with the bits of these.
pub(super) fn mask_of(slots: impl IntoIterator<Item = usize>, of: usize) -> Vec<u64> {
    let mut mask = vec![0; mask_words(of)];
    for slot in slots {
        mask[slot / 64] |= 1 << (slot % 64);
    }
    mask
}

fn source_of(derived: &Derived) -> Source<'_> {
    match (&derived.expr, &derived.sql) {
        (Some(expr), _) => Source::Jsonata(expr),
        (None, sql) => Source::Sql(sql.as_deref().unwrap_or_default()),
    }
}

fn want(data_type: DataType) -> Want {
    match data_type {
        DataType::Double | DataType::Integer => Want::Number(data_type),
        DataType::Bool | DataType::String => Want::Value(data_type),
    }
}
