//! Every DynamoDB expression of the product: the two tables and what is said to them.

mod directory;
mod verifications;

pub use directory::{Directory, DirectoryError};
pub use verifications::{Attempt, NewVerification, Verdict, Verifications};
