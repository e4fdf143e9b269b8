//! Functions that clients of PostgreSQL ask about the server.

use crate::query::statement::CATALOG;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog as pg;

/// The version that clients are told: what it says is what they ask for.
pub(super) const VERSION: &str = "PostgreSQL 16.6 (Millstream) on a read-only server";

/// Names of settings and what they are, for `current_setting`.
const SETTINGS: [(&str, &str); 6] = [
    ("server_version", "16.6"),
    ("server_version_num", "160006"),
    ("search_path", "\"$user\", public"),
    ("timezone", "UTC"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "on"),
];

/// Makes the functions known.
pub(super) fn register(context: &SessionContext) {
    let ready = [
        pg::create_current_database_udf(CATALOG),
        pg::create_current_schema_udf(),
        pg::create_current_schemas_udf(),
        pg::create_pg_get_userbyid_udf(),
        pg::has_privilege_udf::create_has_privilege_udf("has_table_privilege"),
        pg::has_privilege_udf::create_has_privilege_udf("has_schema_privilege"),
        pg::has_privilege_udf::create_has_privilege_udf("has_database_privilege"),
        pg::has_privilege_udf::create_has_privilege_udf("has_any_column_privilege"),
        pg::create_pg_table_is_visible(),
        pg::format_type::create_format_type_udf(),
        pg::create_session_user_udf(),
        pg::pg_get_expr_udf::create_pg_get_expr_udf(),
        pg::create_pg_get_partkeydef_udf(),
        pg::create_pg_relation_is_publishable_udf(),
        pg::create_pg_get_statisticsobjdef_columns_udf(),
        pg::create_pg_encoding_to_char_udf(),
        pg::create_pg_backend_pid_udf(),
        pg::create_pg_relation_size_udf(),
        pg::create_pg_total_relation_size_udf(),
        pg::create_pg_stat_get_numscans(),
        pg::create_pg_get_constraintdef(),
        pg::create_pg_get_partition_ancestors_udf(),
        pg::quote_ident_udf::create_quote_ident_udf(),
        pg::quote_ident_udf::create_parse_ident_udf(),
        pg::array_bounds_udf::create_array_upper_udf(),
        pg::array_bounds_udf::create_array_lower_udf(),
    ];
    let text = |value: &str| ScalarValue::Utf8(Some(value.into()));
    let none = ScalarValue::Utf8(None);
    let number = ScalarValue::Int32(None);
    let constant = [
        ("version", text(VERSION)),
        ("pg_is_in_recovery", ScalarValue::Boolean(Some(false))),
        ("generate_subscripts", number.clone()),
        ("to_regtype", number.clone()),
        ("to_regclass", number.clone()),
        ("to_regnamespace", number),
        ("obj_description", none.clone()),
        ("col_description", none.clone()),
        ("shobj_description", none.clone()),
        ("pg_get_viewdef", text("")),
        ("pg_get_indexdef", none.clone()),
        ("pg_get_ruledef", none.clone()),
        ("pg_get_triggerdef", none.clone()),
        ("pg_get_serial_sequence", none.clone()),
        ("pg_get_function_result", none.clone()),
        ("pg_get_function_sqlbody", none.clone()),
        ("pg_get_function_arguments", none.clone()),
        ("pg_get_function_identity_arguments", none.clone()),
        ("json_build_object", none.clone()),
        ("pg_size_pretty", text("0 bytes")),
        ("pg_table_size", ScalarValue::Int64(Some(0))),
        ("pg_tablespace_location", text("")),
        ("pg_postmaster_start_time", none),
        ("txid_current", ScalarValue::Int64(Some(1))),
        ("pg_type_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_function_is_visible", ScalarValue::Boolean(Some(true))),
        ("has_column_privilege", ScalarValue::Boolean(Some(true))),
        ("has_function_privilege", ScalarValue::Boolean(Some(true))),
    ];
    for function in ready {
        context.register_udf(function);
    }
    for (name, value) in constant {
        context.register_udf(ScalarUDF::from(Constant::new(name, value)));
    }
    context.register_udf(ScalarUDF::from(CurrentSetting::new()));
}

/// A function that says the same whatever it is asked.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Constant {
    fn new(name: &'static str, value: ScalarValue) -> Self {
        Self { name, value, signature: any_arguments() }
    }
}

fn any_arguments() -> Signature {
    use datafusion::logical_expr::TypeSignature::{Nullary, VariadicAny};
    Signature::one_of(vec![Nullary, VariadicAny], Volatility::Stable)
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(
        &self,
        _arguments: ScalarFunctionArgs,
    ) -> datafusion::error::Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// `current_setting(name [, missing_ok])`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentSetting {
    signature: Signature,
}

impl CurrentSetting {
    fn new() -> Self {
        Self { signature: any_arguments() }
    }
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> datafusion::error::Result<ColumnarValue> {
        let name = match arguments.args.first() {
            Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten(),
            _ => None,
        };
        let known = |name: &str| {
            let found = SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map_or(String::new(), |(_, value)| (*value).to_owned())
        };
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(name.map(known))))
    }
}
