//! The Lambda function `pre-traffic`.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use twofa::aws;
use twofa::aws::key_set_reader::Secrets;
use twofa::clock::Clock;
use twofa::config::{Config as _, PreTrafficConfig};
use twofa::lambda::{account, log_to_stdout};
use twofa::store::{Directory, KEEP};
use twofa_ops::pre_traffic::{self, Event, Powers, Versions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = PreTrafficConfig::from_environment()?;
    log_to_stdout(config.log_level);
    let account = account(&config.account)?;
    let dynamodb = aws::dynamodb(&account.at(config.dynamodb_endpoint.as_deref()));
    let secrets_manager = account.at(config.secrets_manager_endpoint.as_deref());
    let powers = Powers {
        clock: Clock::System,
        directory: Directory::new(dynamodb, &config.directory_table),
        secrets: Secrets::new(aws::secrets_manager(&secrets_manager), &config.secret_arn),
        lambda: pre_traffic::lambda(&account.at(config.lambda_endpoint.as_deref())),
        codedeploy: aws_sdk_codedeploy::Client::new(
            &account.at(config.codedeploy_endpoint.as_deref()),
        ),
        versions: Versions {
            request: config.request_version,
            validate: config.validate_version,
            template: config.template_version,
        },
        patience: KEEP,
    };
    lambda_runtime::run(service_fn(async |call: LambdaEvent<Event>| {
        Box::pin(pre_traffic::run(&call.payload, &powers))
            .await
            .map_err(Error::from)
    }))
    .await
}
