//! Recipients' phone numbers: normalised to E.164 before anything is keyed, limited or compared by them.

use std::fmt;
use std::ops::RangeInclusive;

use rlibphonenumber::{
    NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumberFormat, Region, ValidationError,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How many digits a number has after normalisation: the wire contract's bounds. The upper one is
/// ITU-T E.164 §6.2.1.
const DIGITS: RangeInclusive<usize> = 9..=15;

/// A valid number in E.164 form (`+` and digits) and the country that it belongs to.
///
/// `Debug` shows the country alone, and there is no `Display`: a whole number is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PhoneNumber {
    e164: String,
    country: Country,
}

/// Why a number was refused, in the order of precedence of the wire contract.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PhoneError {
    /// Not 9–15 digits after normalisation, or a character that is no digit.
    #[error("the number is not 9 to 15 digits")]
    Address,
    /// No such country calling code, or no such range in the country's numbering plan.
    #[error("the number has no known country calling code or number range")]
    Prefix,
    /// The wrong number of digits for its country.
    #[error("the number has the wrong length for its country")]
    Length,
}

/// Opens libphonenumber's metadata, which the first number that is read would do otherwise.
pub fn open_metadata() {
    let _ = &*PHONE_NUMBER_UTIL;
}

impl PhoneNumber {
    /// Reads an international number, with or without `+` or `00`.
    ///
    /// Spaces, `-`, `.`, `(` and `)` are ignored. A trunk prefix after the country calling code, as
    /// in `+44 (0)7400 123456`, is dropped. Calling codes, ranges and lengths are libphonenumber's.
    ///
    /// # Errors
    /// The first [`PhoneError`] that applies.
    pub fn parse(written: &str) -> Result<Self, PhoneError> {
        let compact = written.replace([' ', '-', '.', '(', ')'], "");
        let digits = compact
            .strip_prefix('+')
            .or_else(|| compact.strip_prefix("00"))
            .unwrap_or(&compact);
        if !DIGITS.contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PhoneError::Address);
        }
        let number = PHONE_NUMBER_UTIL
            .parse(format!("+{digits}"), None)
            .map_err(|error| match error {
                ParseError::InvalidCountryCode | ParseError::NotANumber(_) => PhoneError::Prefix,
                ParseError::TooShortAfterIdd | ParseError::TooShortNsn | ParseError::TooLongNsn => {
                    PhoneError::Length
                }
            })?;
        match number.is_possible_with_reason() {
            Ok(NumberLengthType::IsPossible) => {}
            Err(ValidationError::InvalidCountryCode) => return Err(PhoneError::Prefix),
            Ok(NumberLengthType::IsPossibleLocalOnly)
            | Err(
                ValidationError::TooShort
                | ValidationError::InvalidLength
                | ValidationError::TooLong,
            ) => return Err(PhoneError::Length),
        }
        if !number.is_valid() {
            return Err(PhoneError::Prefix);
        }
        let region = number.get_region_code().ok_or(PhoneError::Prefix)?;
        let e164 = number.format_as(PhoneNumberFormat::E164).into_owned();
        // A trunk prefix may have been all that made it long enough.
        if !DIGITS.contains(&(e164.len() - 1)) {
            return Err(PhoneError::Address);
        }
        Ok(Self {
            e164,
            country: Country::from(region),
        })
    }

    /// The whole number in E.164 form, for the recipient's digest and for SNS, and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.e164
    }

    /// The country that the number's range belongs to.
    #[must_use]
    pub fn country(&self) -> &Country {
        &self.country
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneNumber")
            .field("country", &self.country)
            .finish_non_exhaustive()
    }
}

/// A country as ISO 3166-1 alpha-2 (`GB`), or `001` for numbers that belong to no country (such as
/// the international freephone code +800).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Country(String);

/// The text is no country.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be a country in ISO 3166-1 alpha-2, such as GB, or 001 for numbers of no country")]
pub struct CountryError;

impl Country {
    /// Reads a country that has phone numbers.
    ///
    /// # Errors
    /// When there is none of that code.
    pub fn parse(written: &str) -> Result<Self, CountryError> {
        let known = PHONE_NUMBER_UTIL
            .get_supported_regions()
            .map(Self::from)
            .chain([Self::from(Region::World)]);
        let mut same = known.filter(|country| country.0 == written);
        same.next().ok_or(CountryError)
    }

    /// The mark that stands for every country in a client's list.
    pub(crate) fn any() -> Self {
        Self("*".to_owned())
    }

    /// The code itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Region> for Country {
    fn from(region: Region) -> Self {
        Self((*region.as_region_str()).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &str) -> Result<(String, String), PhoneError> {
        PhoneNumber::parse(written).map(|n| (n.e164.clone(), n.country.as_str().to_owned()))
    }

    #[test]
    fn every_spelling_of_a_number_is_the_same_number() {
        for written in [
            "+44 7400 123456",
            "00447400123456",
            "447400123456",
            "+44 (0)7400 123-456",
            " 44.7400.123456 ",
        ] {
            let expected = ("+447400123456".to_owned(), "GB".to_owned());
            assert_eq!(read(written), Ok(expected), "{written}");
        }
    }

    #[test]
    fn countries_that_share_a_calling_code_are_told_apart() {
        assert_eq!(read("+14155550123").unwrap().1, "US");
        assert_eq!(read("+14165550123").unwrap().1, "CA");
        assert_eq!(read("+447911123456").unwrap().1, "GG");
        assert_eq!(read("+80012345678").unwrap().1, "001");
    }

    #[test]
    fn the_first_fault_that_applies_is_told() {
        let address = [
            "",
            "+",
            "12345678",
            "1234567890123456",
            "+44 7400 12345a",
            "+44/7400123456",
            "++447400123456",
            "+00447400123456789",
            "44+7400123456",
            "+４４７４００１２３４５６",
            "+٤٤٧٤٠٠١٢٣٤٥٦",
            "+49 (0)40 8248",
        ];
        for written in address {
            assert_eq!(read(written), Err(PhoneError::Address), "{written}");
        }
        for written in ["+999123456789", "+210123456789", "+447000000000000"] {
            assert_ne!(read(written).unwrap_err(), PhoneError::Address, "{written}");
        }
        assert_eq!(read("+999123456789"), Err(PhoneError::Prefix));
        assert_eq!(read("+440400123456"), Err(PhoneError::Prefix));
        assert_eq!(read("+4474001234"), Err(PhoneError::Length));
        assert_eq!(read("+1415555012"), Err(PhoneError::Length));
        assert_eq!(read("+14155550123456"), Err(PhoneError::Length));
    }

    #[test]
    fn a_country_is_one_that_has_numbers() {
        for known in ["GB", "GG", "US", "001"] {
            assert_eq!(Country::parse(known).unwrap().as_str(), known);
        }
        for unknown in ["", "gb", "UK", "XX", "GBR", "*"] {
            assert_eq!(Country::parse(unknown), Err(CountryError), "{unknown}");
        }
    }

    #[test]
    fn a_number_does_not_print() {
        let number = PhoneNumber::parse("+447400123456").unwrap();
        assert!(!format!("{number:?}").contains("7400"));
    }
}
