//! The Lambda functions that keep the stack: nobody's call reaches them, AWS itself makes theirs.
//!
//! | module | is |
//! |---|---|
//! | [`rotation`] | what Secrets Manager calls, step by step, to have the peppers rotated |
//! | [`pre_traffic`] | what CodeDeploy calls before new versions get traffic |

pub mod pre_traffic;
pub mod rotation;
