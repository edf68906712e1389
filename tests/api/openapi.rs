//! The committed OpenAPI document.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::Value;

/// The statuses and codes that the document lists, each with the name of its field.
static CODES: LazyLock<HashSet<(String, String)>> = LazyLock::new(|| {
    let document = twofa::http::openapi().unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let properties = schemas
        .values()
        .filter_map(|schema| schema["properties"].as_object());
    let listed = properties.flatten().flat_map(|(name, property)| {
        let codes = property["x-extensible-enum"].as_array();
        let codes = codes.into_iter().flatten().filter_map(Value::as_str);
        codes.map(|code| (name.clone(), code.to_owned()))
    });
    listed.collect()
});

/// Asserts that the document lists the status and the code of this body.
#[track_caller]
pub fn lists_codes_of(body: &Value) {
    for name in ["status", "error_message"] {
        if let Some(code) = body[name].as_str() {
            let code = (name.to_owned(), code.to_owned());
            assert!(CODES.contains(&code), "openapi.json does not list {code:?}");
        }
    }
}

#[test]
fn openapi_json_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let made = twofa::http::openapi().unwrap();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        committed, made,
        "run UPDATE_OPENAPI=1 cargo test openapi_json_is_fresh"
    );
}
