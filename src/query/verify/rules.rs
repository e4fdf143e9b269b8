//! An asset type document with its expressions compiled, nothing else done to it.

use crate::catalog::Layout;
use crate::catalog::asset_type::{AssetType, Levels};
use crate::expr::{Compiled, Scope, Source, Want, compile};
use crate::health::{Algorithm, PartInput};
use crate::model::DataType;

/// A document and its expressions.
pub(super) struct Rules {
    pub document: AssetType,
    pub layout: Layout,
    /// In the order of the document.
    pub derived: Vec<Derivation>,
    pub thresholds: Vec<Input>,
    pub events: Vec<Compiled>,
    pub health: Vec<HealthPart>,
}

/// A derived metric.
pub(super) struct Derivation {
    pub slot: usize,
    pub expr: Compiled,
    /// The metrics whose points cause a new value.
    pub trigger: Vec<usize>,
}

/// What a rule looks at.
pub(super) enum Input {
    Metric(usize),
    Expression(String, Compiled),
}

/// What a part of the health algorithm looks at.
pub(super) struct HealthPart {
    pub input: Input,
    pub guard: Option<Compiled>,
}

impl Rules {
    /// Compiles a document. The error says where it cannot be.
    pub(super) fn of(document: AssetType) -> Result<Self, String> {
        let layout = Layout::of(&document);
        let fields = layout.slots.iter().map(|slot| (slot.name.clone(), slot.data_type)).collect();
        let scope = Scope { fields };
        let make = |place: &str, source: Source, want: Want| {
            compile(source, &scope, want).map_err(|error| format!("{place}: {error}"))
        };
        let metric = |name: &str| layout.position(name).ok_or(format!("no metric '{name}'"));
        let mut derived = Vec::new();
        for (name, metric_of) in &document.transformation_engine.derived {
            let want = match metric_of.data_type {
                number @ (DataType::Double | DataType::Integer) => Want::Number(number),
                other => Want::Value(other),
            };
            let expr = make(name, source(&metric_of.expr, &metric_of.sql), want)?;
            let trigger = match &metric_of.trigger {
                Some(names) => names.iter().map(|n| metric(n)).collect::<Result<_, _>>()?,
                None => expr.inputs().to_vec(),
            };
            derived.push(Derivation { slot: metric(name)?, expr, trigger });
        }
        let mut thresholds = Vec::new();
        for rule in &document.threshold_rules {
            thresholds.push(match &rule.metric {
                Some(name) => Input::Metric(metric(name)?),
                None => {
                    let text = source(&rule.expr, &rule.sql);
                    Input::Expression(
                        rule.id.clone(),
                        make(&rule.id, text, compared(&rule.levels))?,
                    )
                }
            });
        }
        let mut events = Vec::new();
        for rule in &document.event_rules {
            events.push(make(&rule.id, source(&rule.when, &rule.when_sql), Want::Condition)?);
        }
        let mut health = Vec::new();
        if let Some(algorithm) = &document.health_algorithm {
            let want = match algorithm {
                Algorithm::WeightedDeductions(_) => Want::Condition,
                Algorithm::ScoreBased(_) => Want::Number(DataType::Double),
            };
            for part in algorithm.parts() {
                let input = match part.input {
                    PartInput::Metric(name) => Input::Metric(metric(name)?),
                    PartInput::Jsonata(text) => {
                        let expr = make(part.id, Source::Jsonata(text), want)?;
                        Input::Expression(part.id.into(), expr)
                    }
                    PartInput::Sql(text) => {
                        let expr = make(part.id, Source::Sql(text), want)?;
                        Input::Expression(part.id.into(), expr)
                    }
                };
                let guard = part
                    .when
                    .map(|text| make(part.id, Source::Jsonata(text), Want::Condition))
                    .transpose()?;
                health.push(HealthPart { input, guard });
            }
        }
        Ok(Self { layout, derived, thresholds, events, health, document })
    }

    /// The place of a metric, when it is one of this type.
    pub(super) fn slot(&self, name: &str, data_type: DataType) -> Option<usize> {
        self.layout.position(name).filter(|slot| self.layout.slots[*slot].data_type == data_type)
    }
}

fn source<'a>(jsonata: &'a Option<String>, sql: &'a Option<String>) -> Source<'a> {
    match jsonata {
        Some(text) => Source::Jsonata(text),
        None => Source::Sql(sql.as_deref().unwrap_or_default()),
    }
}

fn compared(levels: &Levels) -> Want {
    let any = [&levels.warning, &levels.critical].into_iter().flatten().any(|l| l.op.is_some());
    if any { Want::Number(DataType::Double) } else { Want::Condition }
}
