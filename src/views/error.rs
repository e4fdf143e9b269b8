//! What can be wrong with a question to the views.

use super::view::View;

/// Why the views gave no answer. All but [`Error::Encode`] and [`Error::Image`] are the asker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No view has this name.
    #[error("find view '{name}': the views are {}", View::names().join(", "))]
    UnknownView {
        /// The name that was asked for.
        name: String,
    },
    /// The view has no column that the filter speaks of.
    #[error("filter view {view} by {filter}: it can be filtered by {}", allowed(*.view))]
    Filter {
        /// The view.
        view: View,
        /// The part of the filter that does not fit: `asset`, `type` or `metric`.
        filter: &'static str,
    },
    /// The envelope has another name.
    #[error("use envelope '{0}': the envelopes are diff, upsert")]
    Envelope(String),
    /// The view has no key, so that its rows cannot be replaced.
    #[error("use envelope 'upsert' on view {0}: its rows have no key, ask for envelope 'diff'")]
    NoKey(View),
    /// Rows could not be made into a batch.
    #[error("encode rows of view {view}")]
    Encode {
        /// The view.
        view: View,
        /// What Arrow said.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// Contents could not be written, or read back by this version.
    #[error("write or read the contents of all views")]
    Image(#[source] bincode::Error),
}

fn allowed(view: View) -> String {
    let names = view.filters();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
