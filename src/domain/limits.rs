//! Limits: how much a client may use up, and when a recipient is locked.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::domain::template::TTL_SECONDS;

/// A sliding window: the most messages that one client may send to a recipient within a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The number of messages, 1–[`MAX_WINDOW_SENDS`].
    pub sends: u16,
    /// Within how many seconds, 1–86,400.
    pub seconds: u32,
}

/// The most sends that a window may count: so many are remembered of a recipient.
pub const MAX_WINDOW_SENDS: u16 = 40;

/// The most windows that a client may have: each lengthens the condition of every send.
pub const MAX_WINDOWS: usize = 8;

/// The most consecutive failures that a recipient may ever have (NIST SP 800-63B-4 §3.2.2).
pub const MAX_FAILURES: u16 = 100;

/// The longest lock that ends by itself, in seconds: 30 days, for which a recipient is remembered.
pub const MAX_LOCK_SECONDS: u32 = 30 * 24 * 60 * 60;

/// Below so many failures a lock meets honest people who mistype.
pub const FEW_FAILURES: u32 = 20;

/// The limits of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The windows of each recipient, all of which apply. At most [`MAX_WINDOWS`].
    pub windows: Vec<Window>,
    /// After how many consecutive wrong guesses a recipient is locked, the guesses still open on
    /// live codes included: 1–[`MAX_FAILURES`].
    pub max_failures: u16,
    /// For how many seconds after the last failure a lock holds, 1–[`MAX_LOCK_SECONDS`]; none: until an
    /// operator unlocks the recipient.
    pub lock_seconds: Option<u32>,
    /// The most requests in one second of the clock; absent: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// The most requests in one day of UTC; absent: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_day: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        let window = |sends, seconds| Window { sends, seconds };
        Self {
            windows: vec![
                window(1, 30),
                window(5, 10 * 60),
                window(10, 60 * 60),
                window(20, 24 * 60 * 60),
            ],
            max_failures: MAX_FAILURES,
            lock_seconds: Some(24 * 60 * 60),
            per_second: None,
            per_day: None,
        }
    }
}

/// The field of a client's limits that is not valid.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LimitsError {
    /// A window out of bounds, too many windows, or none.
    #[error(
        "must be 1 to {MAX_WINDOWS} windows, each of 1 to {MAX_WINDOW_SENDS} sends in 1 to 86400 seconds"
    )]
    Windows,
    /// A number of failures out of bounds.
    #[error("must be 1 to {MAX_FAILURES}")]
    MaxFailures,
    /// The windows let so many guesses be open at once that no failure is left: the first one would
    /// lock its recipient, or nobody could be sent anything.
    #[error(
        "the windows allow {open} open guesses within ten minutes, which must be fewer than max_failures"
    )]
    OpenGuesses {
        /// The number of open guesses.
        open: u32,
    },
    /// A lock out of bounds.
    #[error("must be 1 to {MAX_LOCK_SECONDS}, or none")]
    LockSeconds,
    /// A limit of nothing at all.
    #[error("must be at least 1")]
    Zero(&'static str),
}

impl LimitsError {
    /// The path of the field.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Windows => "limits.windows",
            Self::MaxFailures => "limits.max_failures",
            Self::OpenGuesses { .. } => "limits",
            Self::LockSeconds => "limits.lock_seconds",
            Self::Zero(field) => field,
        }
    }
}

impl Limits {
    /// Checks the limits of a client whose templates allow up to `max_attempts` guesses.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self, max_attempts: u8) -> Result<(), LimitsError> {
        self.check_bounds()?;
        // Without any template: of one that allows a single guess.
        let max_attempts = max_attempts.max(1);
        match self.failures_admitted(max_attempts) {
            Some(1..) => Ok(()),
            Some(0) | None => Err(LimitsError::OpenGuesses {
                open: self.open_guesses(max_attempts),
            }),
        }
    }

    fn check_bounds(&self) -> Result<(), LimitsError> {
        let fits = |window: &Window| {
            (1..=MAX_WINDOW_SENDS).contains(&window.sends) && (1..=86_400).contains(&window.seconds)
        };
        let number = 1..=MAX_WINDOWS;
        if !number.contains(&self.windows.len()) || !self.windows.iter().all(fits) {
            return Err(LimitsError::Windows);
        }
        if !(1..=MAX_FAILURES).contains(&self.max_failures) {
            return Err(LimitsError::MaxFailures);
        }
        let lock = 1..=MAX_LOCK_SECONDS;
        if self
            .lock_seconds
            .is_some_and(|seconds| !lock.contains(&seconds))
        {
            return Err(LimitsError::LockSeconds);
        }
        let zero = [
            ("limits.per_second", self.per_second == Some(0)),
            ("limits.per_day", self.per_day == Some(0)),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((field, _)) => Err(LimitsError::Zero(field)),
            None => Ok(()),
        }
    }

    /// Stored limits: what is out of bounds is refused as malformed, and no call goes by it.
    pub(super) fn deserialize_checked<'de, D: Deserializer<'de>>(
        stored: D,
    ) -> Result<Self, D::Error> {
        let limits = Self::deserialize(stored)?;
        limits
            .check_bounds()
            .map_err(|error| D::Error::custom(format!("{}: {error}", error.field())))?;
        Ok(limits)
    }

    /// With how many failures a recipient may still be sent a code that allows `max_attempts`
    /// guesses: all guesses then open together must not pass `max_failures`. `None`: with no number.
    #[must_use]
    pub fn failures_admitted(&self, max_attempts: u8) -> Option<u32> {
        u32::from(self.max_failures).checked_sub(self.open_guesses(max_attempts))
    }

    /// The number of wrong guesses in a row that locks a recipient of a client whose templates allow up to
    /// `max_attempts` guesses.
    #[must_use]
    pub fn failures_that_lock(&self, max_attempts: u8) -> u32 {
        self.failures_admitted(max_attempts)
            .map_or(0, |admitted| admitted + 1)
    }

    /// The duration of a lock after the last failure; `None`: until an operator unlocks the recipient.
    #[must_use]
    pub fn lock(&self) -> Option<Duration> {
        self.lock_seconds
            .map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// The most guesses that can be open at once: the codes that the windows let be alive together, the
    /// new one among them, times the guesses at each. No code lives longer than ten minutes.
    fn open_guesses(&self, max_attempts: u8) -> u32 {
        let longest_life = *TTL_SECONDS.end();
        let alive = |window: &Window| {
            u32::from(window.sends).saturating_mul(longest_life.div_ceil(window.seconds.max(1)))
        };
        let codes = self.windows.iter().map(alive).min().unwrap_or(u32::MAX);
        codes.saturating_mul(max_attempts.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_leave_room_for_the_open_guesses() {
        let limits = Limits::default();
        assert_eq!(limits.failures_admitted(5), Some(75));
        assert_eq!(limits.check(10), Ok(()));
        let lavish = Limits {
            windows: vec![Window {
                sends: 21,
                seconds: 600,
            }],
            ..Limits::default()
        };
        assert_eq!(lavish.check(5), Err(LimitsError::OpenGuesses { open: 105 }));
        assert_eq!(lavish.check(4), Ok(()));
        let endless = Limits {
            windows: vec![Window {
                sends: 1,
                seconds: 3,
            }],
            ..Limits::default()
        };
        let error = LimitsError::OpenGuesses { open: 200 };
        assert_eq!(endless.check(0), Err(error), "no template ever fits");
    }

    #[test]
    fn limits_that_the_first_wrong_guess_would_lock_are_refused() {
        let limits = |max_failures| Limits {
            max_failures,
            ..Limits::default()
        };
        assert_eq!(
            limits(25).check(5),
            Err(LimitsError::OpenGuesses { open: 25 })
        );
        assert_eq!(limits(26).check(5), Ok(()));
        assert_eq!(limits(26).failures_that_lock(5), 2);
        assert_eq!(Limits::default().failures_that_lock(5), 76);
        assert_eq!(Limits::default().failures_that_lock(10), 51);
    }
}
