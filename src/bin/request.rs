//! The Lambda function `request`.

use twofa::http::request_endpoint;
use twofa::lambda::{StartError, request_state, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    serve(request_endpoint(request_state().await?)).await
}
