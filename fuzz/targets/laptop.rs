//! What the laptop's endpoint of SNS and Secrets Manager is asked: a line that names the operation of
//! the latter, or is empty, and the body.

use axum::body::{Body, to_bytes};
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use twofa::domain::phone::PhoneNumber;
use twofa_local::endpoint::{EndpointState, endpoint};
use twofa_local::inbox::Inbox;
use twofa_local::secrets_manager::SecretsManager;

use super::functions;

pub fn check(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (operation, body) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let mut request = Request::post("/");
    if !operation.is_empty() {
        request = request.header(
            "x-amz-target",
            [b"secretsmanager." as &[u8], operation].concat(),
        );
    }
    let Ok(request) = request.body(Body::from(body.to_vec())) else {
        return;
    };
    let inbox = Inbox::default();
    let seed = json!({ "seed": "s".repeat(64) }).to_string();
    let secrets_manager = SecretsManager::new(seed.into(), None);
    let endpoint = endpoint(EndpointState {
        inbox: inbox.clone(),
        secrets_manager,
    });
    let (status, answer) = functions::run(async {
        let answer = endpoint.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            to_bytes(answer.into_body(), usize::MAX).await.unwrap(),
        )
    });
    assert!(matches!(status, 200 | 400), "{status}");
    let answer = str::from_utf8(&answer).unwrap();
    let messages = inbox.messages(None);
    if !operation.is_empty() {
        assert!(messages.is_empty());
        return assert!(serde_json::from_str::<Value>(answer).unwrap().is_object());
    }
    assert_eq!(answer.starts_with("<PublishResponse "), status == 200);
    assert_eq!(messages.len(), usize::from(status == 200));
    for message in messages {
        assert_eq!(
            PhoneNumber::parse(&message.to).unwrap().expose(),
            message.to
        );
        assert!((1..=10).contains(&message.parts) && !message.text.is_empty());
        assert!(answer.contains(&format!("<MessageId>{}</MessageId>", message.message_id)));
    }
}
