//! The Lambda function `validate`.

use twofa::http::validate_endpoint;
use twofa::lambda::{StartError, serve, validate_powers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    serve(validate_endpoint(validate_powers().await?)).await
}
