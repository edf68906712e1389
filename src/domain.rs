//! Values that are valid by type.

pub mod api_key;
pub mod client;
pub mod code;
pub mod digest;
pub mod ids;
pub mod key_set;
pub mod limits;
pub mod message;
pub mod phone;
pub mod template;
