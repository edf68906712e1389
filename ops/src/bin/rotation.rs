//! The Lambda function `rotation`.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use twofa::aws;
use twofa::clock::Clock;
use twofa::config::{Config as _, RotationConfig};
use twofa::lambda::{aws_settings, log_to_stdout};
use twofa_ops::rotation::{self, Call};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = RotationConfig::from_environment()?;
    log_to_stdout(config.log_level);
    let secrets_manager =
        aws_settings(&config.account)?.at(config.secrets_manager_endpoint.as_deref());
    let secrets_manager = aws::secrets_manager(&secrets_manager);
    lambda_runtime::run(service_fn(async |call: LambdaEvent<Call>| {
        let now = Clock::System.now();
        let done = match &call.payload {
            Call::Step(event) => rotation::run(event, &secrets_manager, now).await,
            Call::Watch(watch) => rotation::watch(watch, &secrets_manager, now).await,
        };
        done.map_err(Error::from)
    }))
    .await
}
