//! The Lambda function `template`.

use twofa::http::template_endpoint;
use twofa::lambda::{StartError, serve, template_state};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    serve(template_endpoint(template_state().await?)).await
}
