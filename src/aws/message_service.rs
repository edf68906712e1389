//! SMS through Amazon SNS.

use aws_sdk_sns::error::SdkError;
use aws_sdk_sns::operation::publish::{PublishError, PublishOutput};
use aws_sdk_sns::types::MessageAttributeValue;

use crate::aws::error::{AwsError, AwsErrorKind};
use crate::domain::message::Sms;
use crate::domain::phone::PhoneNumber;
use crate::domain::template::Sender;

/// The codes by which SNS refuses one message, for a reason that lies in it or in its recipient. Any other
/// refusal would meet every message: of the account, its rights, its keys, its region.
const OF_THIS_MESSAGE: [&str; 5] = [
    "InvalidParameter",
    "InvalidParameterValue",
    "OptedOut",
    "ParameterValueInvalid",
    "ValidationException",
];

/// A number that SNS refuses by its form: no country's calling code begins with 0.
const NOBODY: &str = "+000";

/// SNS, to publish to phone numbers.
#[derive(Clone, Debug)]
pub struct MessageService {
    sns: aws_sdk_sns::Client,
}

/// The outcome of a publish.
#[derive(Clone, Debug)]
pub enum Published {
    /// The service took it, under this id.
    Taken(String),
    /// The service refused this message, for a reason that lies in it or in its recipient.
    Refused(AwsError),
    /// The service did not take it, for a reason that lies in neither.
    NotTaken(AwsError),
    /// The service may have taken it.
    Unknown(AwsError),
}

impl MessageService {
    /// The message service behind `sns`.
    #[must_use]
    pub fn new(sns: aws_sdk_sns::Client) -> Self {
        Self { sns }
    }

    /// Hands over a message. Transactional: SNS then prefers the route that is the most likely to
    /// deliver.
    pub async fn publish(
        &self,
        sms: &Sms,
        to: &PhoneNumber,
        from: &Sender,
        max_price: Option<&str>,
    ) -> Published {
        let sender_attribute = match from {
            Sender::Id(_) => "AWS.SNS.SMS.SenderID",
            Sender::Number(_) => "AWS.MM.SMS.OriginationNumber",
        };
        let attributes = [
            ("AWS.SNS.SMS.SMSType", "String", Some("Transactional")),
            (sender_attribute, "String", Some(from.as_str())),
            ("AWS.SNS.SMS.MaxPrice", "Number", max_price),
        ];
        let mut publish = self
            .sns
            .publish()
            .phone_number(to.expose())
            .message(sms.expose());
        for (name, data_type, value) in attributes {
            let Some(value) = value else { continue };
            let value = MessageAttributeValue::builder()
                .data_type(data_type)
                .string_value(value)
                .build()
                .map_err(SdkError::<PublishError>::construction_failure);
            match value {
                Ok(value) => publish = publish.message_attributes(name, value),
                Err(error) => return Published::of(AwsError::new("Publish", &error)),
            }
        }
        Published::by(Box::pin(publish.send()).await)
    }

    /// Publishes to a number that nobody can have. [`Published::Refused`] shows that the function may
    /// publish, and that SNS is there: whoever may not is not told about the number.
    pub async fn publish_to_nobody(&self) -> Published {
        let publish = self.sns.publish().phone_number(NOBODY).message("Twofa");
        Published::by(publish.send().await)
    }
}

impl Published {
    /// The outcome of a call.
    fn by(answer: Result<PublishOutput, SdkError<PublishError>>) -> Self {
        match answer {
            Ok(answer) => match answer.message_id {
                Some(id) => Self::Taken(id),
                None => Self::of(AwsError::incomplete("Publish")),
            },
            Err(error) => Self::of(AwsError::new("Publish", &error)),
        }
    }

    /// The outcome of a failure.
    fn of(error: AwsError) -> Self {
        let code = error.code.as_deref();
        match error.kind {
            AwsErrorKind::Refused if code.is_some_and(|c| OF_THIS_MESSAGE.contains(&c)) => {
                Self::Refused(error)
            }
            kind if kind.is_unknown() => Self::Unknown(error),
            _ => Self::NotTaken(error),
        }
    }
}
