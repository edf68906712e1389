//! The Lambda function `pre-traffic`.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use twofa::aws;
use twofa::aws::key_set_reader::KeySetReader;
use twofa::clock::Clock;
use twofa::config::{Config as _, PreTrafficConfig};
use twofa::lambda::{aws_settings, log_to_stdout};
use twofa::store::{Directory, KEEP};
use twofa_ops::pre_traffic::{self, Event, PreTrafficState, Versions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = PreTrafficConfig::from_environment()?;
    log_to_stdout(config.log_level);
    let settings = aws_settings(&config.account)?;
    let dynamodb = aws::dynamodb(&settings.at(config.dynamodb_endpoint.as_deref()));
    let secrets_manager = settings.at(config.secrets_manager_endpoint.as_deref());
    let state = PreTrafficState {
        clock: Clock::System,
        directory: Directory::new(dynamodb, &config.directory_table),
        key_set_reader: KeySetReader::new(
            aws::secrets_manager(&secrets_manager),
            &config.secret_arn,
        ),
        lambda: pre_traffic::lambda(&settings.at(config.lambda_endpoint.as_deref())),
        codedeploy: aws_sdk_codedeploy::Client::new(
            &settings.at(config.codedeploy_endpoint.as_deref()),
        ),
        versions: Versions {
            request: config.request_version,
            validate: config.validate_version,
            template: config.template_version,
        },
        patience: KEEP,
    };
    lambda_runtime::run(service_fn(async |call: LambdaEvent<Event>| {
        Box::pin(pre_traffic::run(&call.payload, &state))
            .await
            .map_err(Error::from)
    }))
    .await
}
