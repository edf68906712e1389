//! Rotation: the peppers shift by one, at most once a day.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use secrecy::SecretString;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::entropy::{self, EntropyError};

use super::{Key, KeySet};

/// The shortest time between two rotations: a function works with what it read up to an hour
/// ago, and a code lives for minutes, so each knows the pepper of the other with hours to spare.
const ROTATE_AFTER: Duration = Duration::from_hours(24);

/// The longest time between making a version and its taking effect that keeps the version's time.
const PROMPT: Duration = Duration::from_mins(1);

/// The secret is not rotated.
#[derive(Debug, Error)]
pub enum RotateError {
    /// A function that has not read the last window yet would not know the next one.
    #[error("the last rotation is less than a day past")]
    TooSoon {
        /// From when on it may be rotated.
        until: Timestamp,
    },
    /// There were no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl KeySet {
    /// The secret after a rotation at `now`, as it is stored: previous ← current ← next ← new. The
    /// recipient key stays, since limits must not forget.
    ///
    /// # Errors
    /// When the last rotation is less than a day past, or there are no random numbers.
    pub fn rotated(&self, now: Timestamp) -> Result<SecretString, RotateError> {
        let until = self.rotated_at.map(|last| last.plus(ROTATE_AFTER));
        if let Some(until) = until.filter(|until| now < *until) {
            return Err(RotateError::TooSoon { until });
        }
        let next: [u8; 32] = entropy::bytes()?;
        let next = BASE64URL_NOPAD.encode(&next);
        let shifted = [next, self.next.encode(), self.current.encode()];
        Ok(self.window(shifted, now))
    }

    /// The same keys as if they had been rotated at `now`, as they are stored; `None` where they were,
    /// but for the minute that the steps of a rotation take.
    #[must_use]
    pub fn restamped(&self, now: Timestamp) -> Option<SecretString> {
        let is_late = self.rotated_at.is_none_or(|at| at.plus(PROMPT) < now);
        let peppers = [&self.next, &self.current, &self.previous].map(Key::encode);
        is_late.then(|| self.window(peppers, now))
    }

    fn window(
        &self,
        [next, current, previous]: [String; 3],
        rotated_at: Timestamp,
    ) -> SecretString {
        let window = serde_json::json!({
            "next": next,
            "current": current,
            "previous": previous,
            "recipient": self.recipient.encode(),
            "rotated_at": rotated_at.as_millis(),
        });
        window.to_string().into()
    }

    /// Whether this is what a rotation makes of `old`: whoever has read one of the two accepts the
    /// codes that are written under the other.
    #[must_use]
    pub fn follows(&self, old: &Self) -> bool {
        let kept = [
            (&self.current, &old.next),
            (&self.previous, &old.current),
            (&self.recipient, &old.recipient),
        ];
        kept.iter().all(|(new, old)| new.encode() == old.encode())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use crate::domain::phone::PhoneNumber;

    use super::super::tests::{demo, window};
    use super::*;

    #[test]
    fn a_rotation_shifts_the_window_and_keeps_the_recipient_key() {
        let at = Timestamp::from_millis(1_000);
        let seeded = format!(r#"{{"seed":"{}"}}"#, "s".repeat(64));
        for before in [window(2, 1, 0), KeySet::parse(&seeded).unwrap()] {
            let after = KeySet::parse(before.rotated(at).unwrap().expose_secret()).unwrap();
            assert!(after.follows(&before) && !before.follows(&after));
            assert_ne!(after.next.encode(), before.next.encode());
            let number = PhoneNumber::parse("+447400123456").unwrap();
            assert_eq!(
                after.recipient_digest(&demo(), &number),
                before.recipient_digest(&demo(), &number)
            );
        }
    }

    #[test]
    fn a_day_lies_between_two_rotations() {
        let at = Timestamp::from_millis(1_000);
        let once = window(2, 1, 0).rotated(at).unwrap();
        let once = KeySet::parse(once.expose_secret()).unwrap();
        let day = at.plus(ROTATE_AFTER);
        let early = Timestamp::from_millis(day.as_millis() - 1);
        let refused = once.rotated(early);
        assert!(matches!(refused, Err(RotateError::TooSoon { until }) if until == day));
        assert!(once.rotated(day).is_ok());
    }
}
