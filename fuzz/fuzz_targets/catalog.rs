//! The parser of catalog documents. What it accepts is read back from its canonical form as the
//! same, and the dataflow compiles it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::catalog::asset_type::AssetType;
use millstream::catalog::parse_yaml;
use millstream::dataflow::asset::Plan;
use millstream::model::{Kind, TypeId};

fuzz_target!(|text: &str| {
    for kind in Kind::ALL {
        let documents = match parse_yaml(kind, "fuzz", text) {
            Ok(documents) => documents,
            Err(problems) => {
                assert!(!problems.is_empty(), "a refusal says why");
                continue;
            }
        };
        for document in documents {
            let body = document.body.as_deref().expect("a document has a body");
            let again = parse_yaml(kind, "again", body);
            let again = again.unwrap_or_else(|problems| panic!("{body}: {problems:?}"));
            assert_eq!(again.len(), 1);
            assert_eq!(again[0], document, "the canonical form means the same");
            if kind == Kind::AssetTypes {
                let parsed: AssetType = serde_json::from_str(body).expect("its own form");
                Plan::compile(TypeId(0), &document.key, 1, &parsed)
                    .expect("what is valid compiles");
            }
        }
    }
});
