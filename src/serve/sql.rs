//! `/api/v1/sql`: queries over views and telemetry, whole or in pages, and their end.

use super::body::{parse_json, read_text};
use super::doors::{DoorError, ErrorKind, Rows};
use super::formats::{Format, respond};
use super::limits::SQL_BYTES;
use super::pages::{Answer, Page, page_rows};
use super::problem::Problem;
use super::running::Run;
use super::server::State;
use super::telemetry::{FORM, media_type, not_read};
use axum::body::Body;
use axum::extract::{self, Path, Query};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

/// The name of a query, which the client may choose and the answer always has.
const QUERY_ID: HeaderName = HeaderName::from_static("millstream-query-id");
/// The longest name of a query that a client may choose, in bytes.
const QUERY_ID_BYTES: usize = 64;

/// A query.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SqlQuery {
    /// One SQL statement that reads.
    sql: String,
}

/// How an answer is cut.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Cut {
    /// Rows of a page, at most 10,000: the answer is its first page, and `next` the address of the
    /// following one. Without it the answer is whole.
    page_size: Option<usize>,
    /// `json`, `csv`, `arrow`, `ndjson`, `parquet` or `xlsx`; else what `Accept` says.
    format: Option<String>,
}

/// Which page is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Its number, from 1.
    page: u64,
    /// `json`, `csv`, `arrow`, `ndjson`, `parquet` or `xlsx`; else what `Accept` says.
    format: Option<String>,
}

/// Runs a query and streams its rows, or its first page.
///
/// All rows are of one epoch, also those of later pages. A client that goes away ends its query.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    tag = "sql",
    params(
        Cut,
        ("millstream-query-id" = Option<String>, Header, description = "A name for the query, \
         by which it can be ended: letters, digits, - and _. One is made up when there is none."),
    ),
    request_body(content((SqlQuery = "application/json"), (String = "text/plain"))),
    responses(
        (status = 200, description = "`{columns, rows}`; or CSV or Arrow by Accept. A page is \
         `{id, epoch, page, next, columns, rows}`, where `next` is null on the last one; in other \
         forms it is the header `link`", content(
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        ), headers(("millstream-query-id" = String, description = "The name of the query"))),
        (status = 400, description = "Not a query", body = Problem),
        (status = 406, description = "No acceptable form", body = Problem),
        (status = 409, description = "A query of this name runs, or it was ended", body = Problem),
        (status = 413, description = "Longer than the limit", body = Problem),
        (status = 415, description = "Neither JSON nor text", body = Problem),
        (status = 422, description = "A query that cannot be answered", body = Problem),
    )
)]
pub(super) async fn sql(
    extract::State(state): extract::State<State>,
    format: Format,
    Query(cut): Query<Cut>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, DoorError> {
    let rows = cut.page_size.map(page_rows).transpose()?;
    let text = read_text(body, "query", SQL_BYTES).await?;
    let text = match media_type(&headers).as_str() {
        "application/json" => {
            let query: SqlQuery = parse_json(&text, "query", r#"send {"sql": "SELECT ..."}"#)?;
            query.sql
        }
        "text/plain" | "application/sql" | "" | FORM => text,
        other => return Err(not_read("a query", other, "send application/json or text/plain")),
    };
    if text.trim().is_empty() {
        return Err(DoorError::new(ErrorKind::Malformed, "the query is empty")
            .hint("try SELECT * FROM asset_health"));
    }
    let id = query_id(&headers)?;
    let run = begin(&state, &id)?;
    let Some(rows) = rows else {
        let answer = unless_ended(&run, state.doors.sql(&text)).await?;
        return columns_and_rows(format, "", until_ended(answer, run)).await.map(|a| named(a, &id));
    };
    let cursor = unless_ended(&run, state.doors.cursor(&text)).await?;
    let answer = Answer::new(cursor, rows);
    let page = unless_ended(&run, answer.page(1)).await?;
    state.pages.keep(&id, answer);
    paged((format, cut.format), &id, 1, page).await
}

/// Reads a page of an answer: the one behind the newest that was read, or that one again.
#[utoipa::path(
    get,
    path = "/api/v1/sql/{id}",
    tag = "sql",
    params(("id" = String, Path, description = "The name of the query"), Wanted),
    responses(
        (status = 200, description = "`{id, epoch, page, next, columns, rows}`; or CSV or Arrow by \
         Accept, with the header `link`", content(
            (serde_json::Value = "application/json"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
        )),
        (status = 404, description = "No such answer, or nobody read it for too long", body = Problem),
        (status = 406, description = "No acceptable form", body = Problem),
        (status = 409, description = "Neither the newest page nor the one behind it", body = Problem),
        (status = 422, description = "A limit was passed", body = Problem),
    )
)]
pub(super) async fn page(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
    format: Format,
) -> Result<Response, DoorError> {
    let answer = state.pages.get(&id).ok_or_else(|| unknown(&id))?;
    let run = state.running.join(&id);
    // A page is read to its end though the client goes away, who may ask for it again.
    let read = async move { unless_ended(&run, answer.page(wanted.page)).await };
    let page = tokio::spawn(read).await.unwrap_or_else(|error| {
        Err(DoorError::new(ErrorKind::Internal, format!("the page was not read: {error}")))
    })?;
    paged((format, wanted.format), &id, wanted.page, page).await
}

/// Ends a query: one that runs, and one whose pages are read.
#[utoipa::path(
    delete,
    path = "/api/v1/sql/{id}",
    tag = "sql",
    params(("id" = String, Path, description = "The name of the query")),
    responses(
        (status = 204, description = "It is ended"),
        (status = 404, description = "No query of this name runs", body = Problem),
    )
)]
pub(super) async fn end(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
) -> Result<StatusCode, DoorError> {
    let (ran, kept) = (state.running.cancel(&id), state.pages.forget(&id));
    if ran || kept { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&id)) }
}

fn unknown(id: &str) -> DoorError {
    DoorError::new(
        ErrorKind::NotFound,
        format!("no query '{id}' runs, and no pages of it are read"),
    )
    .hint("its name is the header millstream-query-id of the answer; ask again")
}

/// The name that the client has chosen, or a new one.
pub(super) fn query_id(headers: &HeaderMap) -> Result<String, DoorError> {
    let Some(chosen) = headers.get(&QUERY_ID) else {
        return Ok(uuid::Uuid::now_v7().to_string());
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let chosen = chosen.to_str().unwrap_or_default();
    if (1..=QUERY_ID_BYTES).contains(&chosen.len()) && chosen.chars().all(letter) {
        return Ok(chosen.to_owned());
    }
    let detail = format!("the header {QUERY_ID} is no name for a query");
    let hint = format!("take at most {QUERY_ID_BYTES} letters, digits, - and _");
    Err(DoorError::new(ErrorKind::Malformed, detail).hint(hint))
}

/// Runs a query under a name.
pub(super) fn begin(state: &State, id: &str) -> Result<Run, DoorError> {
    let run = state.running.begin(id).filter(|_| state.pages.get(id).is_none());
    run.ok_or_else(|| {
        DoorError::new(ErrorKind::Conflict, format!("a query '{id}' runs already"))
            .hint("choose another name, or end it with DELETE /api/v1/sql/{id}")
    })
}

fn ended() -> DoorError {
    DoorError::new(ErrorKind::Conflict, "the query was ended by DELETE /api/v1/sql/{id}")
}

/// The work's result, unless somebody ends the query before.
pub(super) async fn unless_ended<T>(
    run: &Run,
    work: impl Future<Output = Result<T, DoorError>>,
) -> Result<T, DoorError> {
    tokio::select! {
        done = work => done,
        () = run.cancelled() => Err(ended()),
    }
}

/// The rows, until somebody ends the query.
pub(super) fn until_ended(Rows { schema, batches }: Rows, run: Run) -> Rows {
    let cancelled = Box::pin(run.cancelled());
    let state = Some((batches, cancelled, run));
    let batches = stream::unfold(state, |state| async move {
        let (mut batches, mut cancelled, run) = state?;
        tokio::select! {
            biased;
            () = &mut cancelled => Some((Err(ended()), None)),
            next = batches.next() => Some((next?, Some((batches, cancelled, run)))),
        }
    });
    Rows { schema, batches: batches.boxed() }
}

/// The answer with its query's name.
pub(super) fn named(mut response: Response, id: &str) -> Response {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(QUERY_ID, id);
    }
    response
}

/// A page, with the way to the next one, which names the form when the request did.
async fn paged(
    (format, given): (Format, Option<String>),
    id: &str,
    number: u64,
    page: Page,
) -> Result<Response, DoorError> {
    let given = given.map(|name| format!("&format={name}")).unwrap_or_default();
    let next = (!page.piece.last).then(|| format!("/api/v1/sql/{id}?page={}{given}", number + 1));
    let head = json!({"id": id, "epoch": page.epoch, "page": number, "next": next}).to_string();
    let head = format!("{},", head.trim_start_matches('{').trim_end_matches('}'));
    let batches = stream::iter(page.piece.batches.into_iter().map(Ok)).boxed();
    let rows = Rows { schema: page.schema, batches };
    let mut response = named(columns_and_rows(format, &head, rows).await?, id);
    let link = next.map(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")));
    if let Some(Ok(link)) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// An answer with the columns of a query, and its rows while they come. `head` has the members
/// before them, each followed by a comma.
pub(super) async fn columns_and_rows(
    format: Format,
    head: &str,
    Rows { schema, batches }: Rows,
) -> Result<Response, DoorError> {
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| json!({"name": field.name(), "type": field.data_type().to_string()}))
        .collect();
    let head = format!("{head}\"columns\":{},", serde_json::Value::from(columns));
    respond(format, schema, head, batches).await
}
