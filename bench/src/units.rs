//! The capacity units that DynamoDB charges for a call.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItemsError, TransactWriteItemsInput, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};

/// The units of a cancelled transaction of two items of up to 1 KB: DynamoDB charges for it as for one that
/// is done.
const CANCELLED: f64 = 4.0;

/// What DynamoDB was asked to do, and what it charged for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Charged {
    /// Writes, those whose condition failed included.
    pub writes: u32,
    /// Their units. DynamoDB does not tell those of a write whose condition failed; it is taken to
    /// be one, and four for a transaction, which is right up to 1 KB an item.
    pub write_units: f64,
    /// Reads.
    pub reads: u32,
    /// Their units.
    pub read_units: f64,
}

/// Has DynamoDB tell its charges, and adds them up; clones share the sums.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Charged>>);

impl Meter {
    /// A client that is watched by this meter.
    #[must_use]
    pub fn watch(&self, client: &aws_sdk_dynamodb::Client) -> aws_sdk_dynamodb::Client {
        let config = client.config().to_builder().interceptor(self.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// The sums so far.
    #[must_use]
    pub fn charged(&self) -> Charged {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let total = Some(ReturnConsumedCapacity::Total);
        let input = context.input_mut();
        if let Some(update) = input.downcast_mut::<UpdateItemInput>() {
            update.return_consumed_capacity = total;
        } else if let Some(transaction) = input.downcast_mut::<TransactWriteItemsInput>() {
            transaction.return_consumed_capacity = total;
        } else if let Some(put) = input.downcast_mut::<PutItemInput>() {
            put.return_consumed_capacity = total;
        } else if let Some(query) = input.downcast_mut::<QueryInput>() {
            query.return_consumed_capacity = total;
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut charged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let output = match context.output_or_error() {
            Some(Ok(output)) => output,
            Some(Err(error)) => {
                let cancelled = error
                    .as_operation_error()
                    .is_some_and(|error| error.downcast_ref::<TransactWriteItemsError>().is_some());
                charged.writes += 1;
                charged.write_units += if cancelled { CANCELLED } else { 1.0 };
                return Ok(());
            }
            None => return Ok(()),
        };
        let units = |capacity: Option<&ConsumedCapacity>| {
            capacity.and_then(ConsumedCapacity::capacity_units)
        };
        if let Some(transaction) = output.downcast_ref::<TransactWriteItemsOutput>() {
            let tables = transaction.consumed_capacity().iter();
            charged.writes += 1;
            charged.write_units += tables.filter_map(|table| units(Some(table))).sum::<f64>();
        } else if let Some(update) = output.downcast_ref::<UpdateItemOutput>() {
            charged.writes += 1;
            charged.write_units += units(update.consumed_capacity()).unwrap_or_default();
        } else if let Some(put) = output.downcast_ref::<PutItemOutput>() {
            charged.writes += 1;
            charged.write_units += units(put.consumed_capacity()).unwrap_or_default();
        } else if let Some(query) = output.downcast_ref::<QueryOutput>() {
            charged.reads += 1;
            charged.read_units += units(query.consumed_capacity()).unwrap_or_default();
        }
        Ok(())
    }
}
