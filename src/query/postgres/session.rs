//! The session of one question.

use super::Shared;
use super::catalog::Catalog;
use super::functions;
use super::types::Types;
use crate::model::Epoch;
use crate::query::database;
use crate::query::error::Error;
use crate::query::limits::Limits;
use crate::query::pool::Taken;
use crate::query::session::{self, Environment, register};
use crate::query::statement::Asked;
use crate::query::tables::Tables;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Times without a zone are in this one.
const ZONE: &str = "+00:00";

/// What a session is made of.
pub(super) struct Parts<'a> {
    pub tables: &'a Tables,
    pub env: &'a Environment,
    pub limits: &'a Limits,
    pub shared: &'a Shared,
}

impl Parts<'_> {
    /// A session with the contents of the tables that are asked for, the epoch they are at, and
    /// the memory that they take.
    pub async fn open(&self, asked: &Asked) -> Result<(SessionContext, Epoch, Taken), Error> {
        let (context, epoch, taken) =
            session::open(self.tables, self.env, self.limits, asked).await?;
        Ok((self.extended(context, asked)?, epoch, taken))
    }

    /// A session with those tables, but without rows.
    pub async fn bare(&self, asked: &Asked) -> Result<SessionContext, Error> {
        let context = session::empty(self.env, self.limits)?;
        let known = self.tables.known();
        known.named(&asked.tables)?;
        database::register(&context, self.tables.database.as_ref(), &asked.database).await?;
        for (name, schema) in known.columns().filter(|(name, _)| asked.tables.contains(name)) {
            register(&context, &name, Arc::new(EmptyTable::new(schema)))?;
        }
        self.extended(context, asked)
    }

    /// Adds what clients of PostgreSQL take for granted.
    fn extended(&self, context: SessionContext, asked: &Asked) -> Result<SessionContext, Error> {
        let mut state = context.state();
        let options = state.config_mut().options_mut();
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.time_zone = Some(ZONE.into());
        options.catalog.information_schema = false;
        let state = SessionStateBuilder::new_from_existing(state)
            .with_type_planner(Arc::new(Types::default()))
            .build();
        let context = SessionContext::new_with_state(state);
        functions::register(&context);
        if asked.about_tables {
            let catalog = match self.shared.catalog.get() {
                Some(catalog) => Arc::clone(catalog),
                None => {
                    let made = Arc::new(Catalog::new(self.tables)?);
                    Arc::clone(self.shared.catalog.get_or_init(|| made))
                }
            };
            catalog.register(&context)?;
        }
        Ok(context)
    }
}
