//! Health of one row: gathers the inputs of the algorithm's parts and scores them.

use super::plan::{Compiler, Input, Plan, PlanError};
use super::row::NEVER;
use super::state::StateLayout;
use super::tables::Tables;
use crate::catalog::asset_type::AssetType;
use crate::expr::{Source, Want};
use crate::health::{self, Algorithm, Band, PartInput};
use crate::model::DataType;
use std::sync::Arc;

/// A compiled health algorithm.
#[derive(Clone)]
pub struct HealthPlan {
    algorithm: Algorithm,
    bands: Vec<Band>,
    names: Vec<Arc<str>>,
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    input: Input,
    data_type: DataType,
    when: Option<Input>,
    /// Index among the held parts, and for how long.
    hold: Option<(usize, i64)>,
}

impl HealthPlan {
    /// Compiles the algorithm of a document.
    pub(super) fn compile(
        document: &AssetType,
        compiler: &mut Compiler,
    ) -> Result<Option<Self>, PlanError> {
        let Some(algorithm) = &document.health_algorithm else { return Ok(None) };
        let condition = matches!(algorithm, Algorithm::WeightedDeductions(_));
        let want = if condition { Want::Condition } else { Want::Number(DataType::Double) };
        let (mut parts, mut holds) = (Vec::new(), 0);
        for part in algorithm.parts() {
            let (input, data_type) = match part.input {
                PartInput::Metric(name) => {
                    let slot = compiler.metric(part.id, name)?;
                    (Input::Metric(slot), compiler.slot(slot).data_type)
                }
                PartInput::Jsonata(text) => {
                    (compiler.hidden(part.id, Source::Jsonata(text), want)?, expression(condition))
                }
                PartInput::Sql(text) => {
                    (compiler.hidden(part.id, Source::Sql(text), want)?, expression(condition))
                }
            };
            let when = part
                .when
                .map(|when| compiler.hidden(part.id, Source::Jsonata(when), Want::Condition));
            let hold = part.hold.map(|hold| {
                holds += 1;
                (holds - 1, hold.0)
            });
            parts.push(Part { input, data_type, when: when.transpose()?, hold });
        }
        let bands = algorithm.bands();
        let names = bands.iter().map(|band| band.name.as_str().into()).collect();
        Ok(Some(Self { algorithm: algorithm.clone(), bands, names, parts }))
    }

    /// How many parts hold.
    pub fn holds(&self) -> usize {
        self.parts.iter().filter(|part| part.hold.is_some()).count()
    }

    /// The held parts: index among them, and the condition.
    pub fn held(&self) -> impl Iterator<Item = (usize, Input)> {
        self.parts.iter().filter_map(|part| part.hold.map(|(i, _)| (i, part.input)))
    }

    /// Whether the score is made of the rules' conditions in a row and of nothing else.
    pub fn is_of_conditions(&self) -> bool {
        let is_condition = |input| matches!(input, Input::Condition(_));
        let mut parts = self.parts.iter();
        parts.all(|part| {
            let when = part.when.is_none_or(is_condition);
            is_condition(part.input) && when && part.hold.is_none()
        })
    }

    /// Words of a row of the health table.
    pub fn stride(&self) -> usize {
        2 + self.parts.len()
    }

    /// Scores a row, given the state after it: appends the words of the health table's row.
    pub fn score(
        &self,
        plan: &Plan,
        layout: &StateLayout,
        row: &[u64],
        state: Option<&[i64]>,
        tables: &mut Tables,
    ) {
        let time = plan.rows.time(row);
        let Tables { inputs, parts, health, .. } = tables;
        inputs.clear();
        for part in &self.parts {
            let guarded = part.when.is_some_and(|when| plan.input(row, when) != Some(1));
            let word = plan.input(row, part.input).filter(|_| !guarded);
            let mut input = word.and_then(|word| part.data_type.number(word));
            if let (Some((i, hold)), Some(state)) = (part.hold, state) {
                let last = state[layout.hold(i)];
                if last != NEVER && time <= last.saturating_add(hold) {
                    input = Some(1.0);
                }
            }
            inputs.push(input);
        }
        parts.resize(inputs.len(), 0.0);
        let score = health::score(&self.algorithm, inputs, parts).unwrap_or(f64::NAN);
        health.words.extend([time as u64, score.to_bits()]);
        health.words.extend(parts.iter().map(|part| part.to_bits()));
    }

    /// The name of the band that a score is in; `unknown` for NaN.
    pub fn band(&self, score: f64) -> Arc<str> {
        if score.is_nan() {
            return "unknown".into();
        }
        let band = health::band(&self.bands, score);
        let position = band.and_then(|band| self.bands.iter().position(|b| b == band));
        position.map_or_else(|| "unknown".into(), |i| Arc::clone(&self.names[i]))
    }
}

fn expression(condition: bool) -> DataType {
    if condition { DataType::Bool } else { DataType::Double }
}
