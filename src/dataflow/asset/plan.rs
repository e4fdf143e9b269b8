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
    pub(super) rows: RowLayout,
    /// Microseconds behind the newest event time; see [`crate::catalog::asset_type::TimeRules`].
    pub(super) hot_horizon: i64,
    pub(super) out_of_order: i64,
    /// Derived metrics, inputs before outputs.
    pub(super) derived: Vec<DerivedPlan>,
    /// Expressions of rules: their values stand behind the metrics in each row.
    pub(super) hidden: Vec<HiddenPlan>,
    pub(super) numeric: Vec<usize>,
    pub(super) windows: Vec<Window>,
    pub(super) rules: Vec<RulePlan>,
    pub(super) events: Vec<EventPlan>,
    pub(super) health: Option<HealthPlan>,
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
}

/// Where a rule's value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Input {
    Metric(usize),
    Hidden(usize),
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
        let mut compiler = Compiler { key, layout, scope: Scope { fields }, hidden: Vec::new() };
        let derived = compiler.derived(document)?;
        let rules = RulePlan::compile_all(document, &mut compiler)?;
        let events = EventPlan::compile_all(document, &mut compiler)?;
        let health = HealthPlan::compile(document, &mut compiler)?;
        let Compiler { layout, hidden, .. } = compiler;
        let holds = health.as_ref().map_or(0, HealthPlan::holds);
        let rows =
            RowLayout::new(layout.slots.len(), hidden.len(), rules.len(), events.len(), holds);
        Ok(Self {
            id,
            key: key.into(),
            version,
            numeric: layout.numeric(),
            windows: document.windows(),
            hot_horizon: document.time.hot_horizon.0,
            out_of_order: document.time.out_of_order.0,
            rows,
            layout,
            derived,
            hidden,
            rules,
            events,
            health,
        })
    }

    /// The number of measured metrics: the slots of the [`crate::model::Rows`] it takes.
    pub fn measured(&self) -> usize {
        self.layout.measured
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
        self.hidden.push(HiddenPlan { source: rule.into(), expr });
        Ok(Input::Hidden(self.hidden.len() - 1))
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
            let triggers = match &derived.trigger {
                None => expr.inputs().to_vec(),
                Some(names) => {
                    names.iter().map(|n| self.metric(name, n)).collect::<Result<_, _>>()?
                }
            };
            let mut trigger = vec![0; mask_words(self.layout.slots.len())];
            for slot in triggers {
                trigger[slot / 64] |= 1 << (slot % 64);
            }
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
