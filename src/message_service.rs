//! SMS through Amazon SNS.

use aws_sdk_sns::error::SdkError;
use aws_sdk_sns::operation::publish::PublishError;
use aws_sdk_sns::types::MessageAttributeValue;

use crate::aws::AwsError;
use crate::phone::PhoneNumber;
use crate::sms::Sms;
use crate::template::Sender;

/// SNS, to publish to phone numbers.
#[derive(Clone, Debug)]
pub struct MessageService {
    sns: aws_sdk_sns::Client,
}

impl MessageService {
    /// The message service behind `sns`.
    #[must_use]
    pub fn new(sns: aws_sdk_sns::Client) -> Self {
        Self { sns }
    }

    /// Hands over a message and returns the service's id of it. Transactional: SNS then prefers the
    /// route that is the most likely to deliver.
    ///
    /// # Errors
    /// [`AwsErrorKind::Refused`](crate::aws::AwsErrorKind::Refused) when SNS does not take the
    /// message; another kind when it may or may not have.
    pub async fn send(
        &self,
        sms: &Sms,
        to: &PhoneNumber,
        from: &Sender,
        max_price: Option<&str>,
    ) -> Result<String, AwsError> {
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
                .map_err(SdkError::<PublishError>::construction_failure)
                .map_err(|error| AwsError::new("Publish", &error))?;
            publish = publish.message_attributes(name, value);
        }
        let answer = publish
            .send()
            .await
            .map_err(|error| AwsError::new("Publish", &error))?;
        Ok(answer.message_id().unwrap_or_default().to_owned())
    }
}
