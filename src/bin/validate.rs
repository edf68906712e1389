//! The Lambda function `validate`.

use twofa::http::validate_endpoint;
use twofa::lambda::{StartError, serve, validate_state};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    serve(validate_endpoint(validate_state().await?)).await
}
