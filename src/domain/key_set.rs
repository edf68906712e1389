//! The key set: the peppers that codes are digested with and the key that recipients are.
//!
//! Codes are written under `current` and accepted under all three peppers. A rotation shifts the
//! window (previous ← current ← next ← new), so a function that has not read the new secret yet
//! already knows, as its `next`, the pepper that the others now write with.

use data_encoding::BASE64URL_NOPAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::domain::code::{Code, Guess};
use crate::domain::digest::Digest;
use crate::domain::ids::{CallId, ClientId, IdempotencyKey, RequestId};
use crate::domain::phone::PhoneNumber;
use crate::entropy::{self, EntropyError};

pub use rotation::RotateError;

mod rotation;

/// 128 random bits that a code can be made from again; worthless without the pepper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeSeed([u8; 16]);

impl CodeSeed {
    /// A fresh seed.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn random() -> Result<Self, EntropyError> {
        entropy::bytes().map(Self)
    }

    /// 22 characters of URL-safe Base64, as it is stored.
    #[must_use]
    pub fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Reads a stored seed.
    #[must_use]
    pub fn decode(encoded: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// The digests of one guess under the three peppers.
#[derive(Clone, Copy, Debug)]
pub struct GuessDigests {
    /// Under the pepper that codes are written with.
    pub current: Digest,
    /// Under the pepper of the next rotation.
    pub next: Digest,
    /// Under the pepper of the last rotation.
    pub previous: Digest,
}

/// The keys themselves; they cannot be printed.
#[derive(Debug)]
pub struct KeySet {
    next: Key,
    current: Key,
    previous: Key,
    recipient: Key,
    rotated_at: Option<Timestamp>,
}

/// A key of 32 bytes.
#[derive(Debug)]
struct Key {
    bytes: SecretBox<[u8; 32]>,
    /// An HMAC that has absorbed the key and nothing else: half the work of a digest.
    mac: Hmac<Sha256>,
}

/// The two forms in which the secret is stored.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    /// As a rotation writes it: 32 bytes each, in URL-safe Base64.
    Window {
        next: SecretString,
        current: SecretString,
        previous: SecretString,
        recipient: SecretString,
        /// When, in milliseconds since the Unix epoch.
        rotated_at: Option<i64>,
    },
    /// As the stack makes it: random text that all four are derived from until the first rotation.
    Seed { seed: SecretString },
}

/// The stored text is not a secret of this product. Its content is not told.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the secret is neither {{\"seed\"}} nor {{\"next\",\"current\",\"previous\",\"recipient\"}} of 32 bytes each"
)]
pub struct MalformedKeySet;

/// The shortest seed: 43 characters of 62 carry 256 bits.
const SEED_LENGTH: usize = 43;

impl KeySet {
    /// Reads the secret as it is stored, in JSON.
    ///
    /// # Errors
    /// When it has neither of the two forms.
    pub fn parse(json: &str) -> Result<Self, MalformedKeySet> {
        match serde_json::from_str(json).map_err(|_| MalformedKeySet)? {
            Stored::Window {
                next,
                current,
                previous,
                recipient,
                rotated_at,
            } => Ok(Self {
                next: Key::decode(&next)?,
                current: Key::decode(&current)?,
                previous: Key::decode(&previous)?,
                recipient: Key::decode(&recipient)?,
                rotated_at: rotated_at.map(Timestamp::from_millis),
            }),
            Stored::Seed { seed } if seed.expose_secret().len() >= SEED_LENGTH => Ok(Self {
                next: Key::derive(&seed, "next")?,
                current: Key::derive(&seed, "current")?,
                previous: Key::derive(&seed, "previous")?,
                recipient: Key::derive(&seed, "recipient")?,
                rotated_at: None,
            }),
            Stored::Seed { .. } => Err(MalformedKeySet),
        }
    }

    /// Whether the keys are the same.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let keys = |key_set: &Self| {
            [
                key_set.next.encode(),
                key_set.current.encode(),
                key_set.previous.encode(),
                key_set.recipient.encode(),
            ]
        };
        keys(self) == keys(other)
    }

    /// The digest that a new code is stored as.
    #[must_use]
    pub fn code_digest(&self, client: &ClientId, id: RequestId, code: &Code) -> Digest {
        self.current.code_digest(client, id, code.expose())
    }

    /// The digests that a guess could be stored as.
    #[must_use]
    pub fn guess_digests(&self, client: &ClientId, id: RequestId, guess: &Guess) -> GuessDigests {
        GuessDigests {
            current: self.current.code_digest(client, id, guess.expose()),
            next: self.next.code_digest(client, id, guess.expose()),
            previous: self.previous.code_digest(client, id, guess.expose()),
        }
    }

    /// The code that `seed` gives: the same one again, to those who know the pepper.
    #[must_use]
    pub fn seeded_code(
        &self,
        client: &ClientId,
        id: RequestId,
        seed: &CodeSeed,
        length: u8,
    ) -> Code {
        self.current.seeded_code(client, id, seed, length)
    }

    /// The code that was made from `seed`, under whichever pepper gives a digest that `is_stored`.
    pub fn stored_code(
        &self,
        client: &ClientId,
        id: RequestId,
        seed: &CodeSeed,
        length: u8,
        is_stored: impl Fn(Digest) -> bool,
    ) -> Option<Code> {
        let mut codes = self.peppers().into_iter().map(|pepper| {
            let code = pepper.seeded_code(client, id, seed, length);
            (
                is_stored(pepper.code_digest(client, id, code.expose())),
                code,
            )
        });
        codes
            .find(|(is_stored, _)| *is_stored)
            .map(|(_, code)| code)
    }

    /// Whether the digest of `code` under one of the peppers `is_stored`.
    pub fn is_stored(
        &self,
        client: &ClientId,
        id: RequestId,
        code: &Code,
        is_stored: impl Fn(Digest) -> bool,
    ) -> bool {
        let mut peppers = self.peppers().into_iter();
        peppers.any(|pepper| is_stored(pepper.code_digest(client, id, code.expose())))
    }

    fn peppers(&self) -> [&Key; 3] {
        [&self.current, &self.next, &self.previous]
    }

    /// The code that a test number always gets: nothing of it needs to be stored.
    #[must_use]
    pub fn test_code(&self, client: &ClientId, number: &PhoneNumber, length: u8) -> Code {
        let fields = [
            b"test" as &[u8],
            client.as_str().as_bytes(),
            number.expose().as_bytes(),
        ];
        self.recipient.code(&fields, length)
    }

    /// The id of the request that `client` made with `key`. Nobody without the recipient key can tell
    /// which key it was: it may be a phone number.
    #[must_use]
    pub fn request_id(&self, client: &ClientId, key: &IdempotencyKey) -> RequestId {
        RequestId::of(self.recipient.digest(&[
            b"request",
            client.as_str().as_bytes(),
            key.as_str().as_bytes(),
        ]))
    }

    /// The digest by which a repeated request's body is compared with the first one's.
    #[must_use]
    pub fn body_digest(&self, client: &ClientId, fields: &[&[u8]]) -> Digest {
        let names = [b"body", client.as_str().as_bytes()];
        self.recipient.digest(&[&names, fields].concat())
    }

    /// The name of a guess that may be repeated: the same guess with the same key has the same.
    #[must_use]
    pub fn guess_id(
        &self,
        client: &ClientId,
        key: &IdempotencyKey,
        id: RequestId,
        guess: &Guess,
    ) -> CallId {
        CallId::of(self.recipient.digest(&[
            b"attempt",
            client.as_str().as_bytes(),
            key.as_str().as_bytes(),
            id.as_bytes(),
            guess.expose().as_bytes(),
        ]))
    }

    /// The digest that identifies a client's recipient.
    #[must_use]
    pub fn recipient_digest(&self, client: &ClientId, number: &PhoneNumber) -> Digest {
        self.recipient
            .digest(&[client.as_str().as_bytes(), number.expose().as_bytes()])
    }
}

impl Key {
    fn new(bytes: SecretBox<[u8; 32]>) -> Self {
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(bytes.expose_secret());
        let mac = Hmac::new((&*block).into());
        Self { bytes, mac }
    }

    fn decode(encoded: &SecretString) -> Result<Self, MalformedKeySet> {
        let bytes = BASE64URL_NOPAD
            .decode(encoded.expose_secret().as_bytes())
            .map_err(|_| MalformedKeySet)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| MalformedKeySet)?;
        Ok(Self::new(SecretBox::new(Box::new(bytes))))
    }

    fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(self.bytes.expose_secret())
    }

    /// HKDF-SHA-256 (RFC 5869), the key's name as its context.
    fn derive(seed: &SecretString, name: &str) -> Result<Self, MalformedKeySet> {
        let mut bytes = Box::new([0; 32]);
        Hkdf::<Sha256>::new(None, seed.expose_secret().as_bytes())
            .expand(name.as_bytes(), bytes.as_mut())
            .map_err(|_| MalformedKeySet)?;
        Ok(Self::new(SecretBox::new(bytes)))
    }

    fn code_digest(&self, client: &ClientId, id: RequestId, code: &str) -> Digest {
        self.digest(&[client.as_str().as_bytes(), id.as_bytes(), code.as_bytes()])
    }

    fn seeded_code(&self, client: &ClientId, id: RequestId, seed: &CodeSeed, length: u8) -> Code {
        let fields = [
            b"seed" as &[u8],
            client.as_str().as_bytes(),
            id.as_bytes(),
            &seed.0,
        ];
        self.code(&fields, length)
    }

    /// A code drawn from HMAC-SHA-256 in counter mode instead of the operating system.
    fn code(&self, fields: &[&[u8]], length: u8) -> Code {
        let stream = (0_u64..).flat_map(|block| {
            let block = block.to_be_bytes();
            self.digest(&[fields, &[&block as &[u8]]].concat()).0
        });
        Code::from_stream(length, stream)
    }

    /// HMAC-SHA-256 (RFC 2104) of the fields, each after its length, so that no two lists of fields
    /// make the same message.
    fn digest(&self, fields: &[&[u8]]) -> Digest {
        let mut mac = self.mac.clone();
        for field in fields {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        Digest(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn window(next: u8, current: u8, previous: u8) -> KeySet {
        let key = |byte| BASE64URL_NOPAD.encode(&[byte; 32]);
        let json = serde_json::json!({
            "next": key(next), "current": key(current), "previous": key(previous), "recipient": key(9),
        });
        KeySet::parse(&json.to_string()).unwrap()
    }

    pub(super) fn demo() -> ClientId {
        ClientId::parse("demo").unwrap()
    }

    #[test]
    fn a_rotation_never_separates_a_code_from_its_guess() {
        let (before, after) = (window(2, 1, 0), window(3, 2, 1));
        let (id, code) = (RequestId::random().unwrap(), Code::random(6).unwrap());
        let guess = Guess::parse(code.expose()).unwrap();
        let written_before = before.code_digest(&demo(), id, &code);
        let written_after = after.code_digest(&demo(), id, &code);
        assert_eq!(
            after.guess_digests(&demo(), id, &guess).previous,
            written_before
        );
        assert_eq!(
            before.guess_digests(&demo(), id, &guess).next,
            written_after
        );
        assert_eq!(
            after.guess_digests(&demo(), id, &guess).current,
            written_after
        );
    }

    #[test]
    fn a_digest_is_bound_to_its_client_and_its_request() {
        let key_set = window(2, 1, 0);
        let (id, code) = (RequestId::random().unwrap(), Code::random(6).unwrap());
        let digest = key_set.code_digest(&demo(), id, &code);
        let other = ClientId::parse("other").unwrap();
        assert_ne!(key_set.code_digest(&other, id, &code), digest);
        assert_ne!(
            key_set.code_digest(&demo(), RequestId::random().unwrap(), &code),
            digest
        );
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let key = window(2, 1, 0).current;
        assert_ne!(key.digest(&[b"ab", b"c"]), key.digest(&[b"a", b"bc"]));
    }

    #[test]
    fn digests_are_as_they_always_were() {
        // Computed with another implementation of HMAC (RFC 2104) and HKDF (RFC 5869): to change
        // these is to refuse the codes on their way and to forget every recipient.
        let id = RequestId::parse("00112233-4455-4677-8899-aabbccddeeff").unwrap();
        let number = PhoneNumber::parse("+447400123456").unwrap();
        let seeded = format!(r#"{{"seed":"{}"}}"#, "s".repeat(64));
        for (key_set, code, recipient) in [
            (
                window(2, 1, 0),
                "KwhDhvc-Z39-Cr5VqRTTeHIh5t_sZwMb9wo1BMudNZw",
                "c_3s1KWfo_BOBb5vFuuEjVCJcW2EYGN24-x4O1dbrnc",
            ),
            (
                KeySet::parse(&seeded).unwrap(),
                "GMDit_lDd2YuAcjLbz6YThHnmB10ruxf60Ryz8aSA0c",
                "y33uNnvptnrXNgaEXCJ7f2XUkKNOPdqmiQo5VSVUqzs",
            ),
        ] {
            let guess = Guess::parse("012345").unwrap();
            assert_eq!(
                key_set.guess_digests(&demo(), id, &guess).current.encode(),
                code
            );
            assert_eq!(
                key_set.recipient_digest(&demo(), &number).encode(),
                recipient
            );
        }
    }

    #[test]
    fn a_seeded_code_is_found_again_after_a_rotation() {
        let (before, after) = (window(2, 1, 0), window(3, 2, 1));
        let (id, seed) = (RequestId::random().unwrap(), CodeSeed::random().unwrap());
        let code = before.seeded_code(&demo(), id, &seed, 10);
        let digest = before.code_digest(&demo(), id, &code);
        assert_eq!(code.expose().len(), 10);
        let seed = CodeSeed::decode(&seed.encode()).unwrap();
        let found = after.stored_code(&demo(), id, &seed, 10, |stored| stored == digest);
        assert_eq!(found.unwrap().expose(), code.expose());
        assert!(
            after
                .stored_code(&demo(), id, &seed, 10, |_| false)
                .is_none()
        );
    }

    #[test]
    fn a_test_number_always_gets_the_same_code() {
        let number = PhoneNumber::parse("+447400123456").unwrap();
        let long = window(2, 1, 0).test_code(&demo(), &number, 10);
        let short = window(3, 2, 1).test_code(&demo(), &number, 6);
        assert_eq!(short.expose(), &long.expose()[..6]);
    }

    #[test]
    fn a_seed_gives_four_different_keys_and_always_the_same() {
        let json = format!(r#"{{"seed":"{}"}}"#, "s".repeat(64));
        let (one, two) = (KeySet::parse(&json).unwrap(), KeySet::parse(&json).unwrap());
        let keys = [&one.next, &one.current, &one.previous, &one.recipient];
        let exposed = keys.map(|key| *key.bytes.expose_secret());
        let distinct: std::collections::HashSet<_> = exposed.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert_eq!(
            one.current.bytes.expose_secret(),
            two.current.bytes.expose_secret()
        );
    }

    #[test]
    fn a_malformed_key_set_is_refused_and_not_told() {
        for json in [
            "",
            "{}",
            r#"{"seed":"short"}"#,
            r#"{"next":"a","current":"b","previous":"c","recipient":"d"}"#,
        ] {
            let error = KeySet::parse(json).unwrap_err();
            assert!(!error.to_string().contains("short"));
        }
    }

    #[test]
    fn a_key_set_does_not_print() {
        let json = format!(r#"{{"seed":"{}"}}"#, "s".repeat(64));
        let printed = format!("{:?}", KeySet::parse(&json).unwrap());
        assert!(
            printed.contains("REDACTED") && !printed.contains("[1"),
            "{printed}"
        );
    }
}
