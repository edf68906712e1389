//! Attribute values, to and fro, and the item that an update was refused on.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::aws::error::AwsError;

/// An item, or a map within one.
pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

/// The whole number in an attribute that may not be there.
pub(super) fn integer<T: FromStr>(attribute: Option<&AttributeValue>) -> Option<T> {
    attribute?.as_n().ok()?.parse().ok()
}

/// The item that the condition of an update failed on, as it is; any other error stays one.
pub(super) fn refused(error: &SdkError<UpdateItemError>) -> Result<Item, AwsError> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(met)) => {
            Ok(met.item().cloned().unwrap_or_default())
        }
        _ => Err(AwsError::new("UpdateItem", error)),
    }
}

/// Carries out `update`; `false` when its condition does not hold.
pub(super) async fn is_written(update: UpdateItemFluentBuilder) -> Result<bool, AwsError> {
    match Box::pin(update.send()).await {
        Ok(_) => Ok(true),
        Err(error) => refused(&error).map(|_| false),
    }
}
