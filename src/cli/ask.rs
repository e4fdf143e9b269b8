//! `sql`, `query` and `verify`: asks a running server, or opens the data directory when none runs.

use super::args::{AnswerArgs, Common, Format, SqlArgs, VerifyArgs};
use super::print::Patient;
use super::run::Outcome;
use super::serve::ADDRESS;
use crate::app::Runtime;
use crate::model::Timestamp;
use crate::query::{self, Form};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

/// How long a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// This text.
    Sql(String),
    /// The query of this name, with values for its parameters.
    Named(String, Vec<(String, String)>),
}

/// Runs a query and writes the answer.
pub async fn sql(common: &Common, args: &SqlArgs) -> anyhow::Result<Outcome> {
    ask(common, Question::Sql(args.query.clone()), &args.answer).await
}

/// Asks and writes the answer.
pub async fn ask(
    common: &Common,
    question: Question,
    args: &AnswerArgs,
) -> anyhow::Result<Outcome> {
    // A file is replaced only by a whole answer.
    let unfinished = args.output.as_ref().map(|path| path.with_added_extension("unfinished"));
    let mut out: Box<dyn Write + Send> = match &unfinished {
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("create {}", path.display()))?)
        }
        None => Box::new(Patient(std::io::stdout())),
    };
    let answered = answer(common, question, args, &mut out).await.and_then(|()| Ok(out.flush()?));
    if let (Some(unfinished), Some(path)) = (&unfinished, &args.output) {
        match &answered {
            Ok(()) => std::fs::rename(unfinished, path)
                .with_context(|| format!("write {}", path.display()))?,
            // What failed is told already.
            Err(_) => drop(std::fs::remove_file(unfinished)),
        }
    }
    answered.map(|()| Outcome::Done)
}

async fn answer(
    common: &Common,
    question: Question,
    args: &AnswerArgs,
    mut out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let data = common.data();
    match server(args.url.as_deref(), &data) {
        Some(url) => {
            let format = args.format;
            let asked = tokio::task::spawn_blocking(move || ask_server(&url, &question, format));
            out.write_all(&asked.await??)?;
        }
        None => {
            let runtime = offline(common, &data).await?;
            let asked = match ask_here(common, &runtime, &question).await {
                Ok(answer) => {
                    let written = query::render(answer, args.format.into(), &mut out).await;
                    written.map(drop).map_err(in_words)
                }
                Err(error) => Err(error),
            };
            tokio::task::spawn_blocking(move || runtime.close()).await??;
            asked?;
        }
    }
    Ok(())
}

async fn ask_here(
    common: &Common,
    runtime: &Runtime,
    question: &Question,
) -> anyhow::Result<query::Answer> {
    let answer = match question {
        Question::Sql(text) => runtime.query.sql(text).await,
        Question::Named(name, given) => {
            let query = super::query::named(common, name)?;
            let now = Timestamp(runtime.clock.now_micros());
            runtime.query.named(&query, given, now).await
        }
    };
    answer.map_err(in_words)
}

/// Verifies the views and prints the report.
pub async fn verify(common: &Common, args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let data = common.data();
    if args.conservation {
        return conservation(common, args, &data).await;
    }
    let equal = match server(args.url.as_deref(), &data) {
        Some(url) => {
            let views = args.views.clone();
            tokio::task::spawn_blocking(move || ask_verify(&url, &views)).await??
        }
        None => {
            let runtime = offline(common, &data).await?;
            let report = runtime.verify().await;
            tokio::task::spawn_blocking(move || runtime.close()).await??;
            let mut report = report.map_err(in_words)?;
            if let Some(name) =
                args.views.iter().find(|name| report.views.iter().all(|(v, _)| v != *name))
            {
                let known: Vec<&str> = report.views.iter().map(|(view, _)| view.as_str()).collect();
                bail!(
                    "no view '{name}' is a function of telemetry; verify one of {}",
                    known.join(", ")
                );
            }
            report.views.retain(|(view, _)| args.views.is_empty() || args.views.contains(view));
            say!("{}", report.to_string().trim_end());
            report.is_equal()
        }
    };
    Ok(if equal { Outcome::Done } else { Outcome::Differs })
}

/// Recounts the points and prints what became of them.
async fn conservation(common: &Common, args: &VerifyArgs, data: &Path) -> anyhow::Result<Outcome> {
    let found = match server(args.url.as_deref(), data) {
        Some(url) => tokio::task::spawn_blocking(move || ask_conservation(&url)).await??,
        None => {
            let runtime = offline(common, data).await?;
            let found = runtime.conservation().await;
            tokio::task::spawn_blocking(move || runtime.close()).await??;
            found.map_err(in_words)?
        }
    };
    say!("{}", found.to_string().trim_end());
    Ok(if found.holds() { Outcome::Done } else { Outcome::Differs })
}

fn ask_conservation(url: &str) -> anyhow::Result<query::Conservation> {
    let json = "application/json";
    let answer = post(&format!("{url}/api/v1/verify/conservation"), json, json, String::new())?;
    Ok(serde_json::from_slice(&answer)?)
}

/// The server to ask: the one that was named, or the one that runs on the data directory.
pub fn server(url: Option<&str>, data: &Path) -> Option<String> {
    if let Some(url) = url {
        return Some(url.trim_end_matches('/').to_owned());
    }
    let address = std::fs::read_to_string(data.join(ADDRESS)).ok()?;
    let url = format!("http://{}", address.trim());
    // A stale address answers nothing.
    ureq::get(format!("{url}/health")).call().is_ok().then_some(url)
}

/// The engine on a data directory that no server runs on.
pub async fn offline(common: &Common, data: &Path) -> anyhow::Result<Runtime> {
    if !data.join("log").is_dir() {
        bail!(
            "no server runs and {} holds no data: start one with `millstream`, or name a directory with --data",
            data.display()
        );
    }
    let settings = common.settings(data.to_owned(), false);
    tokio::task::spawn_blocking(move || Runtime::open(&settings)).await?
}

fn ask_server(url: &str, question: &Question, format: Format) -> anyhow::Result<Vec<u8>> {
    let accept = match format {
        Format::Csv => "text/csv",
        // The other forms are made here, from what keeps all types, so that they are the same
        // without a server.
        _ => "application/vnd.apache.arrow.stream",
    };
    let body = match question {
        Question::Sql(text) => {
            post(&format!("{url}/api/v1/sql"), accept, "text/plain", text.clone())?
        }
        Question::Named(name, given) => {
            get(&format!("{url}/api/v1/queries/{name}"), accept, given)?
        }
    };
    if matches!(format, Format::Csv | Format::Arrow) {
        return Ok(body);
    }
    let reader = arrow::ipc::reader::StreamReader::try_new(body.as_slice(), None)?;
    let mut renderer =
        query::Renderer::new(format.into(), reader.schema(), Vec::new()).map_err(in_words)?;
    for batch in reader {
        renderer.write(&batch?).map_err(in_words)?;
    }
    renderer.finish().map_err(in_words)
}

fn ask_verify(url: &str, views: &[String]) -> anyhow::Result<bool> {
    let body = if views.is_empty() {
        "{}".into()
    } else {
        serde_json::json!({ "views": views }).to_string()
    };
    let answer =
        post(&format!("{url}/api/v1/verify"), "application/json", "application/json", body)?;
    let report: serde_json::Value = serde_json::from_slice(&answer)?;
    say!("verified at epoch {}", report["epoch"]);
    for view in report["views"].as_array().into_iter().flatten() {
        let name = view["view"].as_str().unwrap_or_default();
        let finding = if view["equal"] == true { "equal" } else { "DIFFERENT" };
        say!("  {name}: {finding}, {} rows", view["rows"]);
        for difference in view["differences"].as_array().into_iter().flatten() {
            say!("      {}", difference.as_str().unwrap_or_default());
        }
    }
    Ok(report["equal"] == true)
}

/// What a server answers to a request with a body.
pub fn post(url: &str, accept: &str, content: &str, body: String) -> anyhow::Result<Vec<u8>> {
    let request = agent().post(url).header("accept", accept).header("content-type", content);
    read(request.send(body).with_context(|| format!("ask {url}"))?)
}

/// What a server answers to a request without a body.
pub fn get(url: &str, accept: &str, given: &[(String, String)]) -> anyhow::Result<Vec<u8>> {
    let pairs = given.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = agent().get(url).header("accept", accept).query_pairs(pairs);
    read(request.call().with_context(|| format!("ask {url}"))?)
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build();
    ureq::Agent::new_with_config(config)
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    answer.body_mut().as_reader().read_to_end(&mut bytes)?;
    if !answer.status().is_success() {
        let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let detail = problem["detail"].as_str().map(str::to_owned);
        let hint = problem["hint"].as_str().map(|hint| format!("; {hint}")).unwrap_or_default();
        let said = detail.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned());
        bail!("the server answers {}: {said}{hint}", answer.status());
    }
    Ok(bytes)
}

fn in_words(error: query::Error) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow::anyhow!("{error}; {hint}"),
        None => error.into(),
    }
}

impl From<Format> for Form {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => Self::Table,
            Format::Json => Self::Json,
            Format::Ndjson => Self::JsonLines,
            Format::Csv => Self::Csv,
            Format::Arrow => Self::Arrow,
            Format::Parquet => Self::Parquet,
            Format::Xlsx => Self::Xlsx,
        }
    }
}
