//! API keys, and the names of clients in them.

use super::text;
use twofa::domain::api_key::{ApiKey, KeyDigest};
use twofa::domain::ids::ClientId;

pub fn check(bytes: &[u8]) {
    let written = text(bytes);
    if let Ok(id) = ClientId::parse(written) {
        assert_eq!(id.as_str(), written);
        assert!((1..=32).contains(&written.len()) && !written.starts_with('-'));
        assert!(
            written
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        );
    }
    if let Ok(digest) = KeyDigest::try_from(written.to_owned()) {
        assert_eq!(String::from(digest), written);
    }
    let Some(key) = ApiKey::parse(written) else {
        return;
    };
    assert_eq!(key.expose(), written);
    let secret = written.strip_prefix("2fa_").unwrap();
    let secret = secret.strip_prefix(key.client().as_str()).unwrap();
    let secret = secret.strip_prefix('_').unwrap();
    assert_eq!(secret.len(), 43);
    assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(
        ClientId::parse(key.client().as_str()).as_ref(),
        Ok(key.client())
    );
    let again = ApiKey::parse(key.expose()).unwrap();
    assert_eq!(
        (again.client(), again.digest()),
        (key.client(), key.digest())
    );
    assert_eq!(
        KeyDigest::try_from(String::from(key.digest())),
        Ok(key.digest())
    );
    assert!(!format!("{key:?}").contains(secret));
}
