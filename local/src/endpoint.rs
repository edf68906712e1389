//! One endpoint for the services that the laptop answers itself: Amazon SNS, whose `Publish` fills the
//! inbox, Secrets Manager, and the Security Token Service, which says who calls.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use twofa::domain::message::Sms;
use twofa::domain::phone::PhoneNumber;
use uuid::Uuid;

use crate::inbox::{Inbox, InjectedError};
use crate::secrets_manager::SecretsManager;

/// The most characters that SNS takes as one message.
const MAX_MESSAGE: usize = 1_600;

/// The state of the two services.
#[derive(Clone)]
pub struct EndpointState {
    /// The inbox of published messages.
    pub inbox: Inbox,
    /// The one secret.
    pub secrets_manager: SecretsManager,
}

/// The endpoint: Secrets Manager where a call has its target header, else SNS.
pub fn endpoint(services: EndpointState) -> Router {
    Router::new()
        .route("/", post(dispatch))
        .with_state(services)
}

async fn dispatch(
    State(services): State<EndpointState>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(target) = headers.get("x-amz-target") {
        let target = String::from_utf8_lossy(target.as_bytes());
        let operation = target.strip_prefix("secretsmanager.").unwrap_or_default();
        return services.secrets_manager.answer(operation, &body);
    }
    let fields: BTreeMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let action = fields.get("Action").map(String::as_str).unwrap_or_default();
    if let Some((namespace, result)) = look_up(action) {
        return answered(action, namespace, result);
    }
    match publish(&services.inbox, &fields) {
        Ok(message_id) => {
            let result = format!("<MessageId>{message_id}</MessageId>");
            answered(action, SNS, &result)
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// The namespace of SNS's answers.
const SNS: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// The namespace of the Security Token Service's answers.
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers operations that only read: the caller's identity, and the settings of an account for SMS, which has no sandbox, no
/// numbers and no topics.
fn look_up(action: &str) -> Option<(&'static str, &'static str)> {
    match action {
        "GetCallerIdentity" => Some((
            STS,
            "<Arn>arn:aws:iam::000000000000:user/laptop</Arn><UserId>laptop</UserId>\
             <Account>000000000000</Account>",
        )),
        "GetSMSSandboxAccountStatus" => Some((SNS, "<IsInSandbox>false</IsInSandbox>")),
        "GetSMSAttributes" => Some((
            SNS,
            "<attributes><entry><key>MonthlySpendLimit</key><value>1000</value></entry></attributes>",
        )),
        "ListOriginationNumbers" => Some((SNS, "<PhoneNumbers/>")),
        "ListSubscriptionsByTopic" => Some((SNS, "<Subscriptions/>")),
        _ => None,
    }
}

/// `Publish` in the AWS query protocol: the message's id, or SNS's refusal.
fn publish(inbox: &Inbox, fields: &BTreeMap<String, String>) -> Result<String, SnsError> {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    if field("Action") != "Publish" {
        return Err(SnsError::new("InvalidAction", "it is not answered here"));
    }
    let always = InjectedError::of_number(field("PhoneNumber"));
    if let Some(fault) = inbox.next_fault().or(always) {
        return Err(fault.into());
    }
    let number = PhoneNumber::parse(field("PhoneNumber"))
        .ok()
        .filter(|number| number.expose() == field("PhoneNumber"))
        .ok_or(SnsError::new(
            "InvalidParameter",
            "PhoneNumber must be a number in E.164 form",
        ))?;
    let attributes = attributes(fields);
    check_sender(&attributes)?;
    let text = field("Message");
    if text.is_empty() || text.chars().count() > MAX_MESSAGE {
        return Err(SnsError::new(
            "InvalidParameter",
            "Message must have 1 to 1,600 characters",
        ));
    }
    let sms = Sms::compose(text.to_owned())
        .map_err(|_| SnsError::new("InvalidParameter", "Message takes too many parts"))?;
    Ok(inbox.take(number.expose(), &sms, attributes))
}

/// Refuses the senders that SNS does. See
/// <https://docs.aws.amazon.com/sns/latest/dg/sms_publish-to-phone.html>.
fn check_sender(attributes: &BTreeMap<String, String>) -> Result<(), SnsError> {
    let fits = |name: &str, fits: fn(&str) -> bool| attributes.get(name).is_none_or(|s| fits(s));
    let is_id = |id: &str| {
        (3..=11).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && id.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    if !fits("AWS.SNS.SMS.SenderID", is_id) {
        return Err(SnsError::new(
            "InvalidParameter",
            "AWS.SNS.SMS.SenderID must have 3 to 11 letters and digits, at least one of them a letter",
        ));
    }
    let is_number = |number: &str| {
        let digits = number.strip_prefix('+').unwrap_or(number);
        (5..=14).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !fits("AWS.MM.SMS.OriginationNumber", is_number) {
        return Err(SnsError::new(
            "InvalidParameter",
            "AWS.MM.SMS.OriginationNumber must have 5 to 14 digits",
        ));
    }
    Ok(())
}

/// `MessageAttributes.entry.N.Name` and `….Value.StringValue`, put together.
fn attributes(fields: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let entries = fields.iter().filter_map(|(key, name)| {
        let entry = key
            .strip_prefix("MessageAttributes.entry.")?
            .strip_suffix(".Name")?;
        let value = fields.get(&format!(
            "MessageAttributes.entry.{entry}.Value.StringValue"
        ))?;
        Some((name.clone(), value.clone()))
    });
    entries.collect()
}

fn answered(action: &str, namespace: &str, result: &str) -> Response {
    let call = Uuid::new_v4();
    xml(
        StatusCode::OK,
        &format!(
            "<{action}Response xmlns=\"{namespace}\"><{action}Result>{result}</{action}Result>\
             <ResponseMetadata><RequestId>{call}</RequestId></ResponseMetadata></{action}Response>"
        ),
    )
}

fn xml(status: StatusCode, body: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/xml")], body.to_owned()).into_response()
}

/// An error as SNS answers it.
#[derive(Clone, Copy)]
struct SnsError {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
}

impl SnsError {
    const fn new(code: &'static str, message: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            message,
        }
    }
}

/// Codes and statuses are those of SNS's API reference: the errors of `Publish` and the common ones.
impl From<InjectedError> for SnsError {
    fn from(fault: InjectedError) -> Self {
        let (status, code, message) = match fault {
            InjectedError::OptedOut => (
                StatusCode::BAD_REQUEST,
                "OptedOut",
                "the phone number is opted out",
            ),
            InjectedError::InvalidParameter => (
                StatusCode::BAD_REQUEST,
                "InvalidParameter",
                "a parameter is not valid",
            ),
            InjectedError::AuthorizationError => (
                StatusCode::FORBIDDEN,
                "AuthorizationError",
                "no right to publish",
            ),
            InjectedError::Throttled => (StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"),
            InjectedError::InternalError => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "SNS failed",
            ),
        };
        Self {
            status,
            code,
            message,
        }
    }
}

impl IntoResponse for SnsError {
    fn into_response(self) -> Response {
        let Self {
            status,
            code,
            message,
        } = self;
        let by = if status.is_server_error() {
            "Receiver"
        } else {
            "Sender"
        };
        let call = Uuid::new_v4();
        xml(
            status,
            &format!(
                "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>\
                 <Type>{by}</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>{call}</RequestId></ErrorResponse>"
            ),
        )
    }
}
