//! The fuzz targets: each takes outside bytes to one parser and asserts what must hold whatever they are.

pub mod functions;

/// Declares the targets as modules and lists them in `TARGETS`, by name.
macro_rules! targets {
    ($($name:ident)*) => {
        $(pub mod $name;)*

        /// Each target's name, which is that of its folder in `fuzz/corpus`, and its check.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::check)),*];
    };
}

targets! {
    api_key event headers laptop names phone request_body secret sms sns_answer template validate_body
}

/// The longest beginning of the input that is UTF-8.
fn text(bytes: &[u8]) -> &str {
    let valid = str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    str::from_utf8(&bytes[..valid]).unwrap()
}
