//! The tables that are views of Millstream, and the statements that keep them so.

use crate::model::Epoch;

/// A table that has the name and the columns of a view.
#[derive(Debug)]
pub(super) struct Table {
    /// The name of both.
    pub name: &'static str,
    key: &'static [&'static str],
    columns: &'static [&'static str],
    /// The column whose text is JSON.
    pub json: Option<&'static str>,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// Rows as they are now.
    Current,
    /// Rows as they are now, and a table of what they were.
    WithHistory,
    /// A hypertable: too many rows to be compared as a whole.
    Windows,
}

/// The columns of roll-ups.
const WINDOWS: Table = Table {
    name: "",
    key: &["asset", "metric", "window_start", "asset_type"],
    columns: &["count", "sum", "min", "max", "mean", "first", "last", "status", "revision"],
    json: None,
    kind: Kind::Windows,
};

/// All of them, in the order in which they are written: whoever finds a row finds what it points to.
pub(super) const TABLES: [Table; 11] = [
    types("asset_types"),
    types("device_types"),
    documents("assets", &["id", "asset_type", "version", "display_name"]),
    documents("devices", &["id", "device_type", "version", "display_name"]),
    documents("links", &["id", "device", "asset", "version"]),
    Table {
        name: "asset_health",
        key: &["asset", "asset_type"],
        columns: &["event_time", "score", "band", "contributions"],
        json: Some("contributions"),
        kind: Kind::WithHistory,
    },
    Table {
        name: "threshold_states",
        key: &["asset", "rule", "asset_type"],
        columns: &["level", "since", "transitions"],
        json: None,
        kind: Kind::WithHistory,
    },
    Table { name: "rollups_1m", ..WINDOWS },
    Table { name: "rollups_5m", ..WINDOWS },
    Table { name: "rollups_1h", ..WINDOWS },
    Table { name: "rollups_1d", ..WINDOWS },
];

const fn documents(name: &'static str, columns: &'static [&'static str]) -> Table {
    Table { name, key: &["key"], columns, json: None, kind: Kind::Current }
}

const fn types(name: &'static str) -> Table {
    Table { json: Some("document"), ..documents(name, &["id", "version", "document"]) }
}

impl Table {
    /// Whether it holds windows.
    pub fn is_of_windows(&self) -> bool {
        self.kind == Kind::Windows
    }

    /// Makes the session's own table that rows are sent to.
    pub fn incoming(&self) -> String {
        let Self { name, .. } = self;
        format!(
            "CREATE TEMP TABLE incoming_{name} ON COMMIT DELETE ROWS AS \
            SELECT {}, epoch FROM {name} WITH NO DATA;",
            self.all()
        )
    }

    /// Puts what was sent into the table of a writer, `$1`, where it is new or differs. Says how
    /// many rows were touched.
    pub fn upsert(&self) -> String {
        let Self { name, .. } = self;
        let (all, key) = (self.all(), self.key.join(", "));
        let set: Vec<String> = self.columns.iter().map(|c| format!("{c} = excluded.{c}")).collect();
        let (set, old, new) = (set.join(", "), self.compared("t"), self.compared("excluded"));
        let upsert = format!(
            "INSERT INTO {name} AS t ({all}, epoch, writer) \
            SELECT DISTINCT ON ({key}) {all}, epoch, $1::integer FROM incoming_{name} \
            ORDER BY {key}, epoch DESC \
            ON CONFLICT ({key}, writer) DO UPDATE SET {set}, epoch = excluded.epoch \
            WHERE ({old}) IS DISTINCT FROM ({new}) RETURNING {}",
            self.told()
        );
        match self.kind {
            Kind::WithHistory => format!(
                "WITH written AS ({upsert}), told AS ({}) SELECT count(*) FROM written",
                self.tell(&all, "written", "epoch")
            ),
            _ => format!("WITH written AS ({upsert}) SELECT count(*) FROM written"),
        }
    }

    /// How many keys that were sent are not there for writer `$1`.
    pub fn missing(&self) -> String {
        let Self { name, .. } = self;
        format!(
            "SELECT count(*) FROM incoming_{name} i WHERE NOT EXISTS \
            (SELECT FROM {name} t WHERE t.writer = $1 AND {})",
            self.same("i")
        )
    }

    /// Deletes what was not sent of writer `$1`, at an epoch.
    pub fn delete_others(&self, epoch: Epoch) -> String {
        let Self { name, .. } = self;
        let delete = format!(
            "DELETE FROM {name} t WHERE t.writer = $1 AND NOT EXISTS \
            (SELECT FROM incoming_{name} i WHERE {})",
            self.same("i")
        );
        match self.kind {
            Kind::WithHistory => {
                let key = self.key.join(", ");
                let told = self.tell(&key, "gone", &format!("{epoch}::bigint"));
                format!("WITH gone AS ({delete} RETURNING {key}) {told}")
            }
            _ => delete,
        }
    }

    /// Deletes all windows of writer `$1`.
    pub fn delete_all(&self) -> String {
        format!("DELETE FROM {} WHERE writer = $1", self.name)
    }

    /// Deletes all windows of assets, `$2`.
    pub fn delete_assets(&self) -> String {
        format!("DELETE FROM {} WHERE writer = $1 AND asset = ANY($2::text[])", self.name)
    }

    /// Deletes all windows of metrics, `$3`, of asset types, `$2`; of all metrics where it is null.
    pub fn delete_metrics(&self) -> String {
        format!(
            "DELETE FROM {} t USING unnest($2::text[], $3::text[]) AS gone (asset_type, metric) \
            WHERE t.writer = $1 AND t.asset_type = gone.asset_type \
            AND (gone.metric IS NULL OR t.metric = gone.metric)",
            self.name
        )
    }

    /// Deletes windows of assets, `$2`, that begin at `$3`, all between `$5` and `$6`: those of
    /// metrics `$4`.
    pub fn delete_windows(&self) -> String {
        format!(
            "DELETE FROM {} t USING unnest($2::text[], $3::timestamptz[]) AS gone (asset, start) \
            WHERE t.writer = $1 AND t.asset = gone.asset AND t.metric = ANY($4::text[]) \
            AND t.window_start = gone.start AND t.window_start BETWEEN $5 AND $6",
            self.name
        )
    }

    fn all(&self) -> String {
        [self.key, self.columns].concat().join(", ")
    }

    /// Columns as they are compared: JSON is its text.
    fn compared(&self, of: &str) -> String {
        let column = |column: &&str| match self.json {
            Some(json) if json == *column => format!("{of}.{column}::text"),
            _ => format!("{of}.{column}"),
        };
        self.columns.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    fn same(&self, other: &str) -> String {
        let same = |column: &&str| format!("t.{column} = {other}.{column}");
        self.key.iter().map(same).collect::<Vec<_>>().join(" AND ")
    }

    /// What an upsert says of the rows that it touched.
    fn told(&self) -> String {
        match self.kind {
            Kind::WithHistory => {
                format!("t.{}", [self.key, self.columns, &["epoch"]].concat().join(", t."))
            }
            _ => "1".into(),
        }
    }

    /// Tells the history of rows, of writer `$1`.
    fn tell(&self, columns: &str, rows: &str, epoch: &str) -> String {
        format!(
            "INSERT INTO {}_history ({columns}, known_at, writer) \
            SELECT {columns}, timestamptz 'epoch' + {epoch} * interval '1 millisecond', $1::integer \
            FROM {rows} ON CONFLICT DO NOTHING",
            self.name
        )
    }
}
