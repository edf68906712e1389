//! The committed OpenAPI document.

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
