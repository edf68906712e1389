//! Moments as people and scripts read and write them: RFC 3339 in UTC.

use jiff::{Span, SpanRelativeTo, Timestamp as Moment, tz::TimeZone};
use thiserror::Error;
use twofa::clock::Timestamp;

/// The text is no moment to come.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum MomentError {
    /// It has another form.
    #[error(
        "must be a moment in RFC 3339, such as 2030-01-31T00:00:00Z, or a duration such as 90d or 12h"
    )]
    Form,
    /// It lies behind.
    #[error("must be in the future")]
    Past,
}

/// Reads a moment to come: in RFC 3339, or as a duration from now on, in which a day has 24 hours.
pub(crate) fn to_come(written: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
    let millis = if let Ok(moment) = written.parse::<Moment>() {
        moment.as_millisecond()
    } else {
        let span: Span = written.parse().map_err(|_| MomentError::Form)?;
        let day = SpanRelativeTo::days_are_24_hours();
        let duration = span.to_duration(day).map_err(|_| MomentError::Form)?;
        let millis = i64::try_from(duration.as_millis()).map_err(|_| MomentError::Form)?;
        now.as_millis().saturating_add(millis)
    };
    // What cannot be shown is not taken either.
    Moment::from_millisecond(millis).map_err(|_| MomentError::Form)?;
    let moment = Timestamp::from_millis(millis);
    (moment > now).then_some(moment).ok_or(MomentError::Past)
}

/// Reads a moment in RFC 3339, whenever it is.
pub(crate) fn any(written: &str) -> Result<Timestamp, MomentError> {
    let moment: Moment = written.parse().map_err(|_| MomentError::Form)?;
    Ok(Timestamp::from_millis(moment.as_millisecond()))
}

/// A moment in RFC 3339, to the second.
pub(crate) fn shown(at: Timestamp) -> String {
    let seconds = at.as_millis().div_euclid(1000);
    Moment::from_second(seconds).map_or_else(|_| "never".to_owned(), |moment| moment.to_string())
}

/// The first whole second at which the moment has come, in RFC 3339.
pub(crate) fn shown_ceil(at: Timestamp) -> String {
    shown(Timestamp::from_millis(at.as_secs_ceil() * 1000))
}

/// A day since the Unix epoch, as `2030-01-31`.
pub(crate) fn shown_day(day: i64) -> String {
    let moment = Moment::from_second(day.saturating_mul(24 * 60 * 60));
    moment.map_or_else(
        |_| day.to_string(),
        |moment| moment.to_zoned(TimeZone::UTC).date().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

    #[test]
    fn a_moment_is_rfc_3339_or_a_duration() {
        let day = 24 * 60 * 60 * 1000;
        for (written, millis) in [
            ("2030-01-31T00:00:00Z", 1_896_048_000_000),
            ("2030-01-31T01:00:00+01:00", 1_896_048_000_000),
            ("90d", NOW.as_millis() + 90 * day),
            ("2w", NOW.as_millis() + 14 * day),
            ("12h", NOW.as_millis() + day / 2),
            ("P1D", NOW.as_millis() + day),
        ] {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(to_come(written, NOW), Ok(moment), "{written}");
        }
    }

    #[test]
    fn nothing_else_is_a_moment_to_come() {
        for written in ["", "90", "2030-01-31", "soon", "1y", "999999999999d"] {
            assert_eq!(to_come(written, NOW), Err(MomentError::Form), "{written}");
        }
        for written in ["0d", "-1d", "2001-09-09T01:46:40Z"] {
            assert_eq!(to_come(written, NOW), Err(MomentError::Past), "{written}");
        }
    }

    #[test]
    fn moments_and_days_are_utc() {
        let at = Timestamp::from_millis(1_896_048_000_001);
        assert_eq!(shown(at), "2030-01-31T00:00:00Z");
        assert_eq!(shown_ceil(at), "2030-01-31T00:00:01Z");
        assert_eq!(shown_day(21_945), "2030-01-31");
    }
}
