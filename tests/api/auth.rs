//! Who may call: keys, networks, switches.

use std::time::Duration;

use axum::body::to_bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use twofa::domain::api_key::{ApiKey, StoredKey};
use twofa::domain::client::{Countries, Profile, Switch};
use twofa::domain::ids::ClientId;
use twofa::http::template_endpoint;

use crate::harness::{API_KEY, App, START, TEMPLATE};
use crate::log;

async fn status(app: &App, key: &str) -> (u16, Value) {
    let answer = app
        .call(Method::GET, TEMPLATE, &[("X-API-KEY", key)], "")
        .await;
    let body = answer.json();
    (answer.status.as_u16(), body["error_message"].clone())
}

async fn rewrite(app: &App, change: impl FnOnce(&mut Profile)) {
    let demo = ClientId::parse("demo").unwrap();
    let mut profile = app.directory.query(&demo).await.unwrap().unwrap().profile;
    change(&mut profile);
    app.directory.put_profile(&demo, &profile).await.unwrap();
    app.advance(Duration::from_secs(30));
}

#[tokio::test]
async fn the_first_denial_that_applies_is_told() {
    let app = App::start().await;
    let switches = [
        Switch::Account,
        Switch::Client,
        Switch::Product,
        Switch::Connection,
    ];
    rewrite(&app, |profile| {
        profile.networks = vec!["203.0.113.0/24".parse().unwrap()];
        profile.disabled = switches.into();
    })
    .await;
    let wrong = format!("2fa_demo_{}", "x".repeat(43));
    assert_eq!(status(&app, &wrong).await, (401, json!("UNAUTHORIZED")));
    assert_eq!(status(&app, API_KEY).await, (401, json!("IP_NOT_ALLOWED")));
    rewrite(&app, |profile| profile.networks.clear()).await;
    for (switch, code) in switches.into_iter().zip([
        "ACCOUNT_DISABLED",
        "CLIENT_DISABLED",
        "PRODUCT_DISABLED",
        "CONNECTION_DISABLED",
    ]) {
        assert_eq!(status(&app, API_KEY).await, (401, json!(code)));
        rewrite(&app, |profile| {
            profile.disabled.retain(|left| *left != switch);
        })
        .await;
    }
    assert_eq!(status(&app, API_KEY).await.0, 200);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_lets_nobody_in() {
    let app = App::start().await;
    app.spoil_profile("demo").await;
    assert_eq!(status(&app, API_KEY).await, (401, json!("GENERAL_ERROR")));
}

#[tokio::test]
async fn the_address_is_the_one_that_api_gateway_saw() {
    let app = App::start().await;
    rewrite(&app, |profile| {
        profile.networks = vec![
            "203.0.113.0/24".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
    })
    .await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/events/template.json");
    let sample: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (source, status) in [
        ("203.0.113.7", 200),
        ("203.0.114.7", 401),
        ("2001:db8::7", 200),
        ("2001:db9::7", 401),
        ("nonsense", 401),
    ] {
        let mut event = sample.clone();
        event["requestContext"]["http"]["sourceIp"] = json!(source);
        for forged in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            event["headers"][forged] = json!("203.0.113.7");
        }
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let function = template_endpoint(app.fresh_state().into());
        let response = function.oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{source}");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let denied = String::from_utf8_lossy(&body).contains("IP_NOT_ALLOWED");
        assert_eq!(denied, status == 401, "{source}");
    }
}

#[tokio::test]
async fn keys_are_exchanged_without_downtime() {
    let app = App::start().await;
    let demo = ClientId::parse("demo").unwrap();
    let fresh = ApiKey::random(&demo).unwrap();
    let stored = StoredKey {
        digest: fresh.digest(),
        created_at: START.as_millis(),
        expires_at: None,
    };
    assert_eq!(status(&app, fresh.expose()).await.0, 401);
    rewrite(&app, |profile| profile.api_keys.push(stored)).await;
    assert_eq!(status(&app, API_KEY).await.0, 200);
    assert_eq!(status(&app, fresh.expose()).await.0, 200);
    rewrite(&app, |profile| {
        profile.api_keys = profile.api_keys.split_off(1);
    })
    .await;
    assert_eq!(status(&app, API_KEY).await, (401, json!("UNAUTHORIZED")));
    assert_eq!(status(&app, fresh.expose()).await.0, 200);
}

#[tokio::test]
async fn a_change_by_the_operator_arrives_within_thirty_seconds() {
    let app = App::start().await;
    assert_eq!(status(&app, API_KEY).await.0, 200);
    let demo = ClientId::parse("demo").unwrap();
    let nobody = Profile::new("Demo", Countries::All);
    app.directory.put_profile(&demo, &nobody).await.unwrap();
    app.advance(Duration::from_millis(29_999));
    assert_eq!(status(&app, API_KEY).await.0, 200, "remembered");
    let wrong = format!("2fa_demo_{}", "x".repeat(43));
    assert_eq!(status(&app, &wrong).await.0, 401, "but for no other key");
    app.advance(Duration::from_millis(1));
    assert_eq!(status(&app, API_KEY).await, (401, json!("UNAUTHORIZED")));
}

#[tokio::test]
async fn a_key_expires_at_its_moment_though_it_is_remembered() {
    let app = App::start().await;
    let expires_at = START.plus(Duration::from_secs(40)).as_millis();
    rewrite(&app, |profile| {
        profile.api_keys[0].expires_at = Some(expires_at);
    })
    .await;
    assert_eq!(status(&app, API_KEY).await.0, 200);
    app.advance(Duration::from_millis(9_999));
    assert_eq!(status(&app, API_KEY).await.0, 200);
    app.advance(Duration::from_millis(1));
    assert_eq!(status(&app, API_KEY).await, (401, json!("UNAUTHORIZED")));
}

#[tokio::test]
async fn a_malformed_key_takes_the_way_of_an_unknown_one() {
    let app = App::start().await;
    for key in ["", "x", "2fa_demo_short"] {
        assert_eq!(status(&app, key).await, (401, json!("UNAUTHORIZED")));
    }
    assert_eq!(
        app.dynamodb.take_operations(),
        ["Query"],
        "asked for once, as any unknown client"
    );
}

#[tokio::test]
async fn the_line_of_a_call_names_the_key_by_its_id_and_a_401_the_client_that_was_claimed() {
    let app = App::start().await;
    let id = |key: &str| ApiKey::parse(key).unwrap().digest().id();
    let wrong = format!("2fa_demo_{}", "x".repeat(43));
    let stranger = format!("2fa_stranger_{}", "x".repeat(43));
    log::clear();
    for key in [API_KEY, &wrong, &stranger, "no key"] {
        status(&app, key).await;
    }
    let lines = log::lines(|line| line["message"] == "answered");
    let told = |nth: usize, field: &str| lines[nth].get(field).cloned();
    assert_eq!(told(0, "client"), Some(json!("demo")));
    assert_eq!(told(0, "claimed_client"), None);
    assert_eq!(told(0, "key"), Some(json!(id(API_KEY))));
    for (nth, key, claimed) in [(1, &wrong, "demo"), (2, &stranger, "stranger")] {
        assert_eq!(told(nth, "client"), None);
        assert_eq!(told(nth, "claimed_client"), Some(json!(claimed)));
        assert_eq!(told(nth, "key"), Some(json!(id(key))));
    }
    for field in ["client", "claimed_client", "key"] {
        assert_eq!(told(3, field), None, "{field}");
    }
    let whole = String::from(ApiKey::parse(API_KEY).unwrap().digest());
    let text = log::text();
    assert!(!text.contains(&whole) && !text.contains(&"x".repeat(43)) && !text.contains(API_KEY));
}
