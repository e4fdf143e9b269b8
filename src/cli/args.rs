//! What can be typed on the command line.

use crate::app::ExportLimits;
use crate::base::memory::Budget;
use crate::historian::StoreUrl;
use crate::ingest::route::UnknownDevices;
use crate::model::Duration;
use crate::replay::Speed;
use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Keeps every metric, health score, threshold state and aggregate of a plant exactly up to date
/// while its telemetry is still arriving.
///
/// Without a command it runs the demo: a recording of real oil wells is replayed, with live views,
/// subscriptions and SQL on the loopback address.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; the demo when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For the demo without its name.
    #[command(flatten)]
    pub demo: DemoArgs,
    /// For all commands.
    #[command(flatten)]
    pub common: Common,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, the message says what to do; 2 wrong usage; \
3 a view differs from its query, or points are lost; 4 documents have problems.";

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Data directory: the log, the archive and a lock. One process at a time.
    #[arg(long, global = true, value_name = "DIR", env = "MILLSTREAM_DATA")]
    pub data: Option<PathBuf>,
    /// Folder with the catalog's documents, laid out like `dataflows/`. Changed files take effect
    /// while running.
    #[arg(long, global = true, value_name = "DIR", env = "MILLSTREAM_CATALOG")]
    pub catalog: Option<PathBuf>,
    /// Folder with named queries, one `.sql` file each. Changed files take effect while running
    /// [default: `queries` beside the catalog where there is one, else those of the program].
    #[arg(long, global = true, value_name = "DIR", env = "MILLSTREAM_QUERIES")]
    pub queries: Option<PathBuf>,
    /// Address of the doors; port 0 takes a free one.
    #[arg(long, global = true, value_name = "ADDR", env = "MILLSTREAM_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// A name that requests may call this server by, besides localhost and addresses; may be given
    /// several times.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "MILLSTREAM_ALLOWED_HOST",
        value_delimiter = ','
    )]
    pub allowed_host: Vec<String>,
    /// Worker threads of the dataflow [default: 1 for each two cores].
    #[arg(long, global = true, value_name = "N", env = "MILLSTREAM_WORKERS")]
    pub workers: Option<usize>,
    /// How much memory the program may use before it refuses telemetry, as in `2GiB` or `512MB`
    /// [default: three quarters of what its control group or the machine has].
    #[arg(long, global = true, value_name = "SIZE", env = "MILLSTREAM_MEMORY")]
    pub memory: Option<Memory>,
    /// How many windows of each size stay in memory: older minutes, hours and days are read from
    /// files
    #[arg(
        long,
        global = true,
        env = "MILLSTREAM_WINDOWS_IN_MEMORY",
        value_name = "NUMBER",
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(2..=1_000_000)
    )]
    pub windows_in_memory: u32,
    /// How long events, threshold occurrences, errors and corrections stay in memory after they are
    /// over: older ones are read from files, and the oldest where there are more than 100,000
    #[arg(
        long,
        global = true,
        env = "MILLSTREAM_EVENTS_IN_MEMORY",
        value_name = "DURATION",
        default_value = "30d"
    )]
    pub events_in_memory: Duration,
    /// How long after a checkpoint the next one is taken when anything is new, or `off`. A restart
    /// begins at the newest one.
    #[arg(
        long,
        global = true,
        value_name = "DURATION|off",
        env = "MILLSTREAM_CHECKPOINT_EVERY",
        default_value = "60s"
    )]
    pub checkpoint_every: Every,
    /// How long telemetry is kept by its event time, as in `90d`; older days are removed [default: for
    /// ever]. Everything that was made of it stays.
    #[arg(long, global = true, value_name = "DURATION", env = "MILLSTREAM_RETAIN_TELEMETRY")]
    pub retain_telemetry: Option<Duration>,
    /// How long it is kept since it was received, at least: so that an old recording is there for
    /// some time.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MILLSTREAM_RETAIN_MIN_AGE",
        default_value = "7d"
    )]
    pub retain_min_age: Duration,
    /// How much the files of exports may take together, as in `4GiB`.
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        env = "MILLSTREAM_EXPORTS_SPACE",
        default_value_t = ByteSize(ExportLimits::default().bytes)
    )]
    pub exports_space: ByteSize,
    /// How long an export is kept after its end.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MILLSTREAM_EXPORTS_AGE",
        default_value = "1d"
    )]
    pub exports_age: Duration,
    /// A store for old files of the archive: `s3://BUCKET/PREFIX`, with keys and address from the
    /// environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`), or
    /// `file:///DIRECTORY`. Files that are there are read without it too.
    #[arg(long, global = true, value_name = "URL", env = "MILLSTREAM_ARCHIVE_STORE")]
    pub archive_store: Option<StoreUrl>,
    /// How long a UTC day has to be over by the source's clock, and how long ago the last point of a
    /// file has to have come, until the file moves to the store.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "MILLSTREAM_ARCHIVE_STORE_AFTER",
        default_value = "7d"
    )]
    pub archive_store_after: Duration,
    /// What happens to messages of devices that the catalog does not have.
    #[arg(long, global = true, value_enum, default_value_t = Unknown::Provision)]
    pub unknown_devices: Unknown,
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub u64);

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().parse::<ByteSize>() {
            Ok(ByteSize(bytes)) if bytes < Budget::LEAST => Err(format!(
                "{text} is too little to work with: give {} or more",
                ByteSize(Budget::LEAST)
            )),
            Ok(ByteSize(bytes)) => Ok(Self(bytes)),
            Err(_) => Err("give a number with a unit, as in 2GiB or 512MB".into()),
        }
    }
}

/// How often something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Never.
    Off,
    /// This often.
    Each(Duration),
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Duration>() {
            _ if text == "off" => Ok(Self::Off),
            Ok(Duration(0)) => {
                Err("0 is no time between two checkpoints: give off for none".into())
            }
            Ok(duration) => Ok(Self::Each(duration)),
            Err(error) => Err(format!("{error}, or off")),
        }
    }
}

impl Every {
    /// The time in between; `None` for never.
    pub fn time(self) -> Option<std::time::Duration> {
        match self {
            Self::Off => None,
            Self::Each(Duration(micros)) => {
                Some(std::time::Duration::from_micros(micros.unsigned_abs()))
            }
        }
    }
}

/// What to do with unknown devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unknown {
    /// A device type whose id pattern matches takes the device in; else it is refused.
    Provision,
    /// Refuse them.
    Reject,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the engine: doors, catalog, MQTT.
    Serve(ServeArgs),
    /// Replay the recording of real oil wells that ships with the program.
    Demo(DemoArgs),
    /// Replay files: Parquet, Arrow IPC (file or stream), CSV; narrow or wide; merged by time.
    Replay(ReplayArgs),
    /// Ask in SQL: a running server on the same data directory, or the directory itself.
    Sql(SqlArgs),
    /// Run a named query, or list them.
    Query(QueryArgs),
    /// Recompute every view from the archived points and compare.
    Verify(VerifyArgs),
    /// Remove telemetry that is older than it is to be kept, or say what would be.
    Retention(RetentionArgs),
    /// Validate a folder of documents and the named queries, and run the tests inside documents.
    Check(CheckArgs),
    /// Print JSON Schemas of documents and of telemetry, for editors and other programs.
    Schemas(SchemasArgs),
    /// Print a line for `serve --postgres-users` and `--flight-users`; the password comes on standard input.
    PostgresUser(PostgresUserArgs),
}

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Subscribe to a broker: `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`.
    #[arg(long, value_name = "URL", env = "MILLSTREAM_MQTT_URL")]
    pub mqtt_url: Option<String>,
    /// Topic filter to subscribe to; may be given several times.
    #[arg(long, value_name = "FILTER", default_value = "telemetry/#")]
    pub mqtt_topic: Vec<String>,
    /// Where the device stands in the topic, as in `plant/{device}/telemetry`; without it the
    /// payload says `deviceId`.
    #[arg(long, value_name = "TEMPLATE")]
    pub mqtt_device_topic: Option<String>,
    /// Protocol version.
    #[arg(long, value_enum, default_value_t = MqttVersion::V5)]
    pub mqtt_version: MqttVersion,
    /// Client id: the broker keeps the session under this name.
    #[arg(long, value_name = "ID", default_value = "millstream")]
    pub mqtt_client_id: String,
    /// User name.
    #[arg(long, value_name = "NAME", env = "MILLSTREAM_MQTT_USER")]
    pub mqtt_user: Option<String>,
    /// Password; better in the environment than on the command line.
    #[arg(long, value_name = "TEXT", env = "MILLSTREAM_MQTT_PASSWORD", hide_env_values = true)]
    pub mqtt_password: Option<String>,
    /// File with the certificate authorities to trust, PEM.
    #[arg(long, value_name = "FILE")]
    pub mqtt_ca: Option<PathBuf>,
    /// File with the client's certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "mqtt_key")]
    pub mqtt_cert: Option<PathBuf>,
    /// File with the client's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "mqtt_cert")]
    pub mqtt_key: Option<PathBuf>,
    /// Write history to a TimescaleDB too: `postgres://USER:PASSWORD@HOST[:PORT]/DATABASE`, with
    /// `?sslmode=require` for TLS; better in the environment than on the command line.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// File with the certificate authorities to trust for the database, PEM [default: the public
    /// ones].
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_DATABASE_CA", requires = "database_url")]
    pub database_ca: Option<PathBuf>,
    /// How old chunks of points, minutes and five minutes are in the database when they are
    /// compressed, as in `7d`; it takes TimescaleDB's community licence.
    #[arg(
        long,
        value_name = "DURATION",
        env = "MILLSTREAM_DATABASE_COMPRESS_AFTER",
        requires = "database_url"
    )]
    pub database_compress_after: Option<Duration>,
    /// How long points stay in the database, as in `90d` [default: for ever]. The archive and the
    /// database's roll-ups keep all.
    #[arg(
        long,
        value_name = "DURATION",
        env = "MILLSTREAM_DATABASE_RETAIN",
        requires = "database_url"
    )]
    pub database_retain: Option<Duration>,
    /// Make `telemetry_history_1h` in the database: with the community licence a continuous
    /// aggregate that is brought up to date so often, else a view of Millstream's own roll-ups.
    #[arg(
        long,
        value_name = "DURATION",
        env = "MILLSTREAM_DATABASE_AGGREGATE_EVERY",
        requires = "database_url"
    )]
    pub database_aggregate_every: Option<Duration>,
    /// For clients that speak PostgreSQL's protocol.
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// For clients that speak Flight SQL.
    #[command(flatten)]
    pub flight: FlightArgs,
    /// For several processes.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// SQL for psql, Grafana, DBeaver and other clients of PostgreSQL.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "PostgreSQL clients")]
pub struct PostgresArgs {
    /// Answer clients of PostgreSQL at this address; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "MILLSTREAM_POSTGRES")]
    pub postgres: Option<SocketAddr>,
    /// File with the users who may come in, one line each as `millstream postgres-user` makes it.
    /// Without it everybody on this machine may, and nobody else.
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_POSTGRES_USERS", requires = "postgres")]
    pub postgres_users: Option<PathBuf>,
    /// File with the server's certificate, PEM. With it nobody is answered without encryption.
    #[arg(
        long,
        value_name = "FILE",
        env = "MILLSTREAM_POSTGRES_TLS_CERT",
        requires_all = ["postgres", "postgres_tls_key"]
    )]
    pub postgres_tls_cert: Option<PathBuf>,
    /// File with the server's private key, PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "MILLSTREAM_POSTGRES_TLS_KEY",
        requires_all = ["postgres", "postgres_tls_cert"]
    )]
    pub postgres_tls_key: Option<PathBuf>,
}

/// SQL for clients of Apache Arrow: ADBC, JDBC, Power BI, pandas, polars.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Flight SQL clients")]
pub struct FlightArgs {
    /// Answer clients of Flight SQL at this address; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "MILLSTREAM_FLIGHT")]
    pub flight: Option<SocketAddr>,
    /// File with the users who may come in, as for `--postgres-users` [default: that file]. Without
    /// one everybody on this machine may, and nobody else.
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_FLIGHT_USERS", requires = "flight")]
    pub flight_users: Option<PathBuf>,
    /// File with the server's certificate, PEM [default: that of `--postgres-tls-cert`]. With one
    /// nobody is answered without encryption.
    #[arg(
        long,
        value_name = "FILE",
        env = "MILLSTREAM_FLIGHT_TLS_CERT",
        requires_all = ["flight", "flight_tls_key"]
    )]
    pub flight_tls_cert: Option<PathBuf>,
    /// File with the server's private key, PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "MILLSTREAM_FLIGHT_TLS_KEY",
        requires_all = ["flight", "flight_tls_cert"]
    )]
    pub flight_tls_key: Option<PathBuf>,
}

/// One dataflow in several processes: capacity, not replication.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Several processes")]
pub struct ClusterArgs {
    /// How many processes run one dataflow together. All of them have to be there: while one is
    /// missing, the others refuse telemetry.
    #[arg(long, value_name = "N")]
    pub processes: Option<usize>,
    /// Which of them this is, from 0. Each has a data directory and doors of its own; process 0
    /// keeps the catalog.
    #[arg(long, value_name = "I")]
    pub process: Option<usize>,
    /// File with the addresses at which the processes reach each other, one `HOST:PORT` a line,
    /// that of process 0 first. Nobody is asked for a password there: keep them private.
    #[arg(long, value_name = "FILE")]
    pub hosts: Option<PathBuf>,
}

/// Versions of the MQTT protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttVersion {
    /// MQTT 3.1.1.
    #[value(name = "3.1.1")]
    V3,
    /// MQTT 5.
    #[value(name = "5")]
    V5,
}

/// Options of the demo.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Recorded seconds a second, or `max` [default: 120].
    #[arg(long, value_name = "X|max")]
    pub speed: Option<Speed>,
    /// End after the recording and print a report, instead of keeping the doors open.
    #[arg(long)]
    pub once: bool,
}

/// Options of `replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The recordings.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Recorded seconds a second, or `max`.
    #[arg(long, value_name = "X|max", default_value = "max")]
    pub speed: Speed,
    /// Write every view's final contents to this folder, one Parquet file a view.
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,
    /// Recompute every view in the end and compare.
    #[arg(long)]
    pub verify: bool,
    /// Event time that rows handed in together span at the most [default: 1s, 10s at full speed].
    #[arg(long, value_name = "DURATION")]
    pub tick: Option<Duration>,
}

/// Options of `sql`.
#[derive(Clone, Debug, Args)]
pub struct SqlArgs {
    /// The query.
    pub query: String,
    /// Where the answer comes from and goes to.
    #[command(flatten)]
    pub answer: AnswerArgs,
}

/// Options of `query`.
#[derive(Clone, Debug, Args)]
pub struct QueryArgs {
    /// The name of the query; without it all are listed.
    pub name: Option<String>,
    /// A value for a parameter; may be given several times.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = assignment, requires = "name")]
    pub param: Vec<(String, String)>,
    /// Where the answer comes from and goes to.
    #[command(flatten)]
    pub answer: AnswerArgs,
}

/// Where an answer comes from and goes to.
#[derive(Clone, Debug, Args)]
pub struct AnswerArgs {
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Write to a file instead of the terminal.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Ask this server instead of the one on the data directory.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// An array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// With a header line.
    Csv,
    /// Arrow IPC stream.
    Arrow,
    /// Parquet.
    Parquet,
    /// A workbook for Excel.
    Xlsx,
}

/// Options of `verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The views to verify; all when left out.
    pub views: Vec<String>,
    /// Recount from the log instead that every accepted point is in telemetry exactly once.
    #[arg(long, conflicts_with = "views")]
    pub conservation: bool,
    /// Ask this server instead of the one on the data directory.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Options of `retention`.
#[derive(Clone, Debug, Args)]
pub struct RetentionArgs {
    /// Only say what would be removed, and what keeps it.
    #[arg(long)]
    pub dry_run: bool,
    /// The database that the server writes to, as `serve` has it: then only the server removes.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Ask this server instead of the one on the data directory.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Options of `postgres-user`.
#[derive(Clone, Debug, Args)]
pub struct PostgresUserArgs {
    /// The user's name.
    pub name: String,
}

/// Options of `schemas`.
#[derive(Clone, Debug, Args)]
pub struct SchemasArgs {
    /// The schema to print; without it the names of all.
    pub name: Option<String>,
    /// Write all of them to this folder, one `NAME.schema.json` each.
    #[arg(long, short, value_name = "DIR", conflicts_with = "name")]
    pub output: Option<PathBuf>,
}

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The folder, laid out like `dataflows/`.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `NAME=VALUE`.
fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl From<Unknown> for UnknownDevices {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Provision => Self::Provision,
            Unknown::Reject => Self::Reject,
        }
    }
}
