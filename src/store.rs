//! Every DynamoDB expression of the product: the two tables and what is said to them.

mod directory;
mod receipt;
mod recipients;
mod usage;
mod value;
mod verifications;

pub use directory::{Directory, DirectoryError};
pub use receipt::{Receipt, Slip};
pub use recipients::{Admission, RecipientState, Recipients, SendMark};
pub use usage::{Account, Caps, Charge, Taken, Usage, UsageState};
pub use verifications::{
    Attempt, Claim, Earlier, NewVerification, Progress, Stored, Verdict, Verifications,
};
