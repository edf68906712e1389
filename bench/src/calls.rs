//! Whole calls through the product's handlers, and the same writes by the SDK alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use aws_sdk_sns::types::MessageAttributeValue;
use axum::Router;
use axum::body::{Body, Bytes};
use clap::ValueEnum;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use twofa::clock::Clock;
use twofa::domain::ids::RequestId;
use twofa::domain::phone;
use twofa::entropy;
use twofa::http::{SourceAddress, all_endpoints};
use twofa::state::{RequestState, StackLimits};
use twofa_local::services::{self, VERIFICATIONS_TABLE};

use crate::stage::{self, Failed, Sent, TEMPLATE};
use crate::units::Meter;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// `validate` with the right code, for the first time: one write.
    Validate,
    /// `validate` with a wrong code: two writes.
    ValidateWrong,
    /// `validate` of an id that nobody has: one write, whose condition fails.
    ValidateUnknown,
    /// `validate` of what is no id: nothing is asked of DynamoDB.
    ValidateNoId,
    /// `request` to a number that was never sent to: a transaction, one `Publish` and two writes.
    Request,
    /// `request` that a window of the recipient refuses: a transaction that is cancelled.
    RequestRefused,
    /// `request` to what is no number: nothing is asked of DynamoDB.
    RequestRejected,
    /// One small `UpdateItem` by the SDK as it comes.
    BareUpdate,
    /// What `request` asks for, by the SDK as it comes: `TransactWriteItems` of two items, `Publish`, two
    /// `UpdateItem` side by side, each as small as it can be.
    BareRequest,
}

/// Where and how to call.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Where DynamoDB listens.
    pub dynamodb: SocketAddr,
    /// Where SNS and Secrets Manager listen.
    pub sns: SocketAddr,
    /// How many clients take turns.
    pub clients: usize,
}

/// One who calls, one call after the other.
pub struct Caller {
    endpoints: Router,
    dynamodb: aws_sdk_dynamodb::Client,
    sns: aws_sdk_sns::Client,
    clients: usize,
    sent: std::vec::IntoIter<Sent>,
    first_number: u64,
    calls: usize,
}

impl Caller {
    /// Calls by this course; `sent` are the codes that there are to validate.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn new(course: &Course, sent: Vec<Sent>, meter: Option<&Meter>) -> Result<Self, Failed> {
        phone::open_metadata();
        let state = match meter {
            Some(meter) => watched(course, meter),
            None => services::state(course.dynamodb, course.sns, Clock::System),
        };
        let drawn = u64::from_be_bytes(entropy::bytes()?);
        Ok(Self {
            endpoints: all_endpoints(state),
            dynamodb: aws_sdk_dynamodb::Client::new(&services::sdk_config(course.dynamodb)),
            sns: aws_sdk_sns::Client::new(&services::sdk_config(course.sns)),
            clients: course.clients,
            sent: sent.into_iter(),
            // Numbers that no caller before this one has sent to, as good as surely.
            first_number: 447_400_000_000 + drawn % 40_000_000,
            calls: 0,
        })
    }

    /// Calls once.
    ///
    /// # Errors
    /// When the answer is not the one that this kind of call is meant to get.
    pub async fn call(&mut self, kind: Kind) -> Result<(), Failed> {
        self.calls += 1;
        match kind {
            Kind::Validate => {
                let Sent { id, code } = self.next_sent()?;
                self.validate(&id, &code, "success").await
            }
            Kind::ValidateWrong => {
                let Sent { id, code } = self.next_sent()?;
                let wrong = if code == "000000" { "000001" } else { "000000" };
                self.validate(&id, wrong, "not_matched").await
            }
            Kind::ValidateUnknown => {
                let id = RequestId::random()?.to_string();
                self.validate(&id, "123456", "not_found").await
            }
            Kind::ValidateNoId => self.validate("none", "123456", "not_found").await,
            Kind::Request => {
                let to = self.first_number + self.calls as u64;
                self.request(&format!("+{to}"), StatusCode::OK, "ACCEPTED", "OK")
                    .await
            }
            Kind::RequestRefused => {
                let to = format!("+{}", self.first_number);
                // The one that is not refused is the first of each client.
                if self.calls <= self.clients {
                    return self.request(&to, StatusCode::OK, "ACCEPTED", "OK").await;
                }
                let limited = StatusCode::TOO_MANY_REQUESTS;
                self.request(&to, limited, "REJECTED", "TOO_MANY_REQUESTS")
                    .await
            }
            Kind::RequestRejected => {
                let error = "DESTINATION_ADDRESS_INVALID";
                self.request("123", StatusCode::OK, "REJECTED", error).await
            }
            Kind::BareUpdate => {
                let Sent { id, .. } = self.next_sent()?;
                self.update(&id, "attempts").await
            }
            Kind::BareRequest => self.bare_request().await,
        }
    }

    fn next_sent(&mut self) -> Result<Sent, Failed> {
        Ok(self.sent.next().ok_or("there are no more codes")?)
    }

    async fn validate(&self, id: &str, code: &str, status: &str) -> Result<(), Failed> {
        let body = format!(r#"{{"code":"{code}","request_id":"{id}"}}"#);
        let key = stage::owners_key();
        let (_, answer) = self.post("/api/v1.0/2fa/validate", &key, body).await?;
        holds(&answer, &[status])
    }

    async fn request(
        &self,
        to: &str,
        expected: StatusCode,
        status: &str,
        error: &str,
    ) -> Result<(), Failed> {
        let body = format!(r#"{{"to":"{to}","template_id":"{TEMPLATE}"}}"#);
        let key = stage::api_key(self.calls % self.clients);
        let (code, answer) = self.post("/api/v1.0/2fa/request", &key, body).await?;
        if code != expected {
            return Err(format!("{expected} was expected, not {code}").into());
        }
        holds(&answer, &[status, error])
    }

    async fn post(
        &self,
        path: &str,
        key: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes), Failed> {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("x-api-key", key)
            .extension(SourceAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)))
            .body(Body::from(body))?;
        let answer = self.endpoints.clone().oneshot(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    async fn update(&self, id: &str, counter: &str) -> Result<(), Failed> {
        self.dynamodb
            .update_item()
            .table_name(VERIFICATIONS_TABLE)
            .key("id", AttributeValue::S(id.to_owned()))
            .update_expression("ADD #counter :one")
            .expression_attribute_names("#counter", counter)
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .send()
            .await?;
        Ok(())
    }

    async fn bare_request(&self) -> Result<(), Failed> {
        let to = format!("+{}", self.first_number + self.calls as u64);
        let client = format!("bare-{}", self.calls % self.clients);
        let id = RequestId::random()?.to_string();
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let number = |number: i64| AttributeValue::N(number.to_string());
        let digest = "0123456789012345678901234567890123456789012";
        let put = Put::builder()
            .table_name(VERIFICATIONS_TABLE)
            .item("id", text(&id))
            .item("client", text(&client))
            .item("recipient", text(digest))
            .item("state", text("open"))
            .item("code", text(digest))
            .item("attempts", number(0))
            .item("max_attempts", number(5))
            .item("expires_at", number(4_102_473_600_000))
            .item("ttl", number(4_102_473_600))
            .build()?;
        let entry = Update::builder()
            .table_name(VERIFICATIONS_TABLE)
            .key("id", text(&to))
            .update_expression("ADD sends :one")
            .expression_attribute_values(":one", number(1))
            .build()?;
        self.dynamodb
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(TransactWriteItem::builder().update(entry).build())
            .send()
            .await?;
        let attribute = |value: &str| {
            let value = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value);
            value.build()
        };
        self.sns
            .publish()
            .phone_number(&to)
            .message("123456 is your sign-in code. Never share it with anyone.")
            .message_attributes("AWS.SNS.SMS.SMSType", attribute("Transactional")?)
            .message_attributes("AWS.SNS.SMS.SenderID", attribute("Twofa")?)
            .send()
            .await?;
        tokio::try_join!(self.update(&id, "sent"), self.update(&client, "requests"))?;
        Ok(())
    }
}

/// Whether the answer holds these values; it is not parsed, since only what the product does is measured.
fn holds(answer: &[u8], values: &[&str]) -> Result<(), Failed> {
    let answer = std::str::from_utf8(answer)?;
    let is_there = |value: &&str| answer.contains(&format!(":\"{value}\""));
    if values.iter().all(is_there) {
        Ok(())
    } else {
        Err(format!("{values:?} were expected, not {answer}").into())
    }
}

/// The same state, with a meter at DynamoDB.
fn watched(course: &Course, meter: &Meter) -> RequestState {
    let client = twofa::aws::dynamodb(&services::sdk_config(course.dynamodb));
    let stack = StackLimits {
        daily_part_cap: None,
        allow_test_numbers: true,
    };
    let sns = services::sdk_config(course.sns);
    services::state_through(meter.watch(&client), &sns, stack, Clock::System)
}
