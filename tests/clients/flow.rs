//! A code is sent, read from the inbox and checked, with the client of openapi-generator.

use std::error::Error;

use serde_json::Value;
use twofa_client::apis::configuration::{ApiKey, Configuration};
use twofa_client::apis::default_api::{CheckCodeError, check_code, list_templates, send_code};
use twofa_client::apis::{Error as ApiError, ResponseContent};
use twofa_client::models::{CheckCodeRequest, SendCodeRequest};

const TO: &str = "+447400000103";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let api = std::env::args().nth(1).ok_or("usage: flow API")?;
    let twofa = Configuration {
        base_path: api.clone(),
        api_key: Some(ApiKey {
            prefix: None,
            key: "2fa_demo_LaptopOnlyLaptopOnlyLaptopOnlyLaptopOnly123".to_owned(),
        }),
        ..Configuration::default()
    };

    let templates = list_templates(&twofa).await?.data;
    let login = templates.iter().find(|template| template.name == "Login");
    let login = login.ok_or("no template Login")?;

    let body = SendCodeRequest::new(login.id, TO.to_owned());
    let sent = send_code(&twofa, body, Some("rust")).await?;
    assert_eq!(sent.status, "ACCEPTED");

    let inbox = format!("{}/inbox", api.trim_end_matches("/api"));
    let inbox = twofa.client.get(inbox).query(&[("to", TO)]);
    let messages: Value = inbox.send().await?.json().await?;
    let code = messages[0]["text"].as_str().and_then(|text| text.get(..6));
    let code = code.ok_or("no code in the inbox")?;

    let check = |code: &str| {
        let body = CheckCodeRequest::new(code.to_owned(), sent.request_id);
        check_code(&twofa, body, None)
    };
    let wrong = if code == "000000" { "111111" } else { "000000" };
    assert_eq!(check(wrong).await?.status, "not_matched");
    assert!(check(code).await?.verified);
    match check(code).await {
        Err(ApiError::ResponseError(ResponseContent {
            entity: Some(CheckCodeError::Status404(answer)),
            ..
        })) => assert_eq!(answer.status, "not_found"),
        other => return Err(format!("not a 404: {other:?}").into()),
    }

    let body = SendCodeRequest::new(login.id, "1".to_owned());
    let bad = send_code(&twofa, body, None).await?;
    assert_eq!(bad.error_message, "DESTINATION_ADDRESS_INVALID");
    println!("passed");
    Ok(())
}
