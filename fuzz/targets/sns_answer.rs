//! What SNS answers to `Publish`: a line with the status, and the body.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use twofa::aws::error::AwsErrorKind;
use twofa::aws::message_service::{MessageService, Published};
use twofa::domain::message::Sms;
use twofa::domain::phone::PhoneNumber;
use twofa::domain::template::Sender;

use super::functions::{answered, run, sdk_config};

/// An SNS that says what it is told to.
#[derive(Clone, Debug, Default)]
struct Parrot(Arc<Mutex<(u16, Vec<u8>)>>);

impl HttpConnector for Parrot {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = self.0.lock().unwrap().clone();
        answered(status, body)
    }
}

impl HttpClient for Parrot {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

struct Message {
    sns: Parrot,
    service: MessageService,
    sms: Sms,
    to: PhoneNumber,
    from: Sender,
}

thread_local! {
    static MESSAGE: Message = Message::new();
}

impl Message {
    fn new() -> Self {
        let sns = Parrot::default();
        Self {
            service: MessageService::new(twofa::aws::sns(&sdk_config(sns.clone()))),
            sns,
            sms: Sms::compose("271828 is your code".to_owned()).unwrap(),
            to: PhoneNumber::parse("+447400123456").unwrap(),
            from: Sender::parse("Twofa").unwrap(),
        }
    }
}

pub fn check(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let status = lines
        .next()
        .and_then(|line| str::from_utf8(line).ok()?.parse().ok());
    let (Some(status @ 100..=599), Some(body)) = (status, lines.next()) else {
        return;
    };
    let sent = MESSAGE.with(|message| {
        *message.sns.0.lock().unwrap() = (status, body.to_vec());
        let Message {
            service,
            sms,
            to,
            from,
            ..
        } = message;
        run(service.publish(sms, to, from, Some("0.05")))
    });
    let (error, fits) = match sent {
        Published::Taken(id) => {
            assert!((200..300).contains(&status) && !id.is_empty());
            return;
        }
        // What may have been taken is never told to be refused.
        Published::Unknown(error) => {
            let fits = match error.kind {
                AwsErrorKind::Faulted => status >= 500,
                AwsErrorKind::Incomplete => (200..300).contains(&status),
                _ => false,
            };
            (error, fits)
        }
        Published::NotTaken(error) => {
            let fits = match error.kind {
                AwsErrorKind::Throttled => {
                    let says = |c: &String| {
                        c.contains("Thrott")
                            || c.contains("Exceeded")
                            || c.contains("TooMany")
                            || c.contains("Conflict")
                    };
                    status == 429 || error.code.as_ref().is_some_and(says)
                }
                AwsErrorKind::Refused => status < 500 && !(200..300).contains(&status),
                _ => false,
            };
            (error, fits)
        }
        Published::Refused(error) => {
            let fits = status < 500 && !(200..300).contains(&status) && error.code.is_some();
            (error, fits)
        }
    };
    assert!(fits, "{status}: {error}");
    // SNS's messages repeat phone numbers: of the body only the code and the request's id are told.
    let code = error.code.iter().map(|code| format!("code {code}"));
    let id = error.aws_request_id.iter();
    let told: Vec<_> = code.chain(id.map(|id| format!("AWS request id {id}"))).collect();
    let told = match &told[..] {
        [] => String::new(),
        some => format!(" ({})", some.join(", ")),
    };
    assert_eq!(error.to_string(), format!("Publish failed: {:?}{told}", error.kind));
}
