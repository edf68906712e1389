//! The client that is there from the start, with a key that everybody knows: it opens nothing but
//! this laptop.

use thiserror::Error;
use twofa::domain::api_key::{ApiKey, StoredKey};
use twofa::domain::client::{Countries, Profile};
use twofa::domain::ids::{ClientId, ClientIdError, TemplateId};
use twofa::domain::limits::{Limits, Window};
use twofa::domain::template::TemplateFields;
use twofa::store::{Directory, DirectoryError};

/// The API key of the client `demo`.
pub const API_KEY: &str = "2fa_demo_LaptopOnlyLaptopOnlyLaptopOnlyLaptopOnly123";

/// The template of a code alone.
pub const LOGIN: &str = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01";

/// The template of a code and an amount, `${amount}`.
pub const PAYMENT: &str = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a02";

/// The demo client could not be written.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The directory did not take it.
    #[error("the demo client could not be written")]
    Directory(#[from] DirectoryError),
    /// Its name is none.
    #[error("the demo client's name is not valid")]
    Name(#[from] ClientIdError),
    /// Its key or a template's id is none.
    #[error("the demo client's key or a template's id is not valid")]
    Constant,
}

/// The limits of the client `demo`, which are not the default ones: a person who tries things out does
/// so more than once in 30 seconds.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        windows: vec![Window {
            sends: 10,
            seconds: 600,
        }],
        ..Limits::default()
    }
}

/// The codes that a number gets in the shortest window, in words.
#[must_use]
pub fn windows_in_words(limits: &Limits) -> String {
    limits.windows.first().map_or_else(String::new, |window| {
        let plural = if window.sends == 1 { "" } else { "s" };
        format!(
            "{} code{plural} in {} seconds",
            window.sends, window.seconds
        )
    })
}

/// Writes the client `demo` and its two templates.
///
/// # Errors
/// When the directory does not take them.
pub async fn seed(directory: &Directory) -> Result<(), DemoError> {
    let demo = ClientId::parse("demo")?;
    let key = ApiKey::parse(API_KEY).ok_or(DemoError::Constant)?;
    let profile = Profile {
        api_keys: vec![StoredKey {
            digest: key.digest(),
            created_at: 0,
            expires_at: None,
        }],
        limits: limits(),
        ..Profile::new("Demo", Countries::All)
    };
    directory.put_profile(&demo, &profile).await?;
    let template = |id, name: &str, text: &str, ttl| {
        Ok::<_, DemoError>(TemplateFields {
            id: TemplateId::parse(id).ok_or(DemoError::Constant)?,
            name: name.to_owned(),
            from: "Twofa".to_owned(),
            text: text.to_owned(),
            ttl,
            code_length: 6,
            max_attempts: 5,
        })
    };
    let login = template(
        LOGIN,
        "Login",
        "${code} is your sign-in code. Never share it with anyone.",
        300,
    )?;
    let payment = template(
        PAYMENT,
        "Payment",
        "${code} confirms your payment of ${amount}. If you did not ask for it, ignore this message.",
        120,
    )?;
    directory.put_template(&demo, &login).await?;
    directory.put_template(&demo, &payment).await?;
    Ok(())
}
