//! What the product costs, measured: the calls and the parts that the benches run, and the stage
//! that they run on.
//!
//! | module | is |
//! |---|---|
//! | [`stage`] | the laptop's services, with clients and as many rows as a bench asks for |
//! | [`calls`] | whole calls through the product's handlers, and the same writes by the SDK alone |
//! | [`parts`] | what the product does without asking anyone |
//! | [`units`] | the capacity units that DynamoDB charges for a call |
//! | [`cpu`] | how much of the processor this process has used |

pub mod calls;
pub mod cpu;
pub mod parts;
pub mod stage;
pub mod units;
