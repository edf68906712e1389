//! Attribute values, to and fro.

use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;

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
