//! Recipients' phone numbers: normalised to E.164 before anything is keyed, limited or compared by them.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use rlibphonenumber::{
    NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumberFormat, PhoneNumberType, Region,
    ValidationError,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The allowed number of digits after normalisation: the wire contract's bounds. The upper one is
/// ITU-T E.164 §6.2.1.
const DIGITS: RangeInclusive<usize> = 9..=15;

/// A valid number in E.164 form (`+` and digits), the country that it belongs to, and its type.
///
/// `Debug` shows the country alone, and there is no `Display`: a whole number is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PhoneNumber {
    e164: String,
    country: Country,
    number_type: NumberType,
}

/// The type of a number that an SMS can be sent to.
///
/// Numbers of other types are read as [`PhoneError::Prefix`]: premium rate, shared cost, toll free,
/// pager, UAN and voice mail, and all numbers that belong to no country, such as satellite phones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberType {
    /// A mobile number.
    Mobile,
    /// A number of a range that fixed lines and mobile phones share, as in the United States.
    FixedLineOrMobile,
    /// A fixed line.
    FixedLine,
    /// A number of an internet telephone.
    Voip,
    /// A number that its owner has forwarded anywhere, at the caller's cost.
    Personal,
}

impl NumberType {
    /// Every type, the usual ones first.
    pub const ALL: [Self; 5] = [
        Self::Mobile,
        Self::FixedLineOrMobile,
        Self::FixedLine,
        Self::Voip,
        Self::Personal,
    ];

    /// The types that a client sends to unless its profile says otherwise.
    pub const DEFAULT: [Self; 2] = [Self::Mobile, Self::FixedLineOrMobile];

    /// The name that operators call it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::FixedLineOrMobile => "fixed_line_or_mobile",
            Self::FixedLine => "fixed_line",
            Self::Voip => "voip",
            Self::Personal => "personal",
        }
    }

    /// The type, if a number of libphonenumber's type can be sent to.
    const fn of(number_type: PhoneNumberType) -> Option<Self> {
        match number_type {
            PhoneNumberType::Mobile => Some(Self::Mobile),
            PhoneNumberType::FixedLineOrMobile => Some(Self::FixedLineOrMobile),
            PhoneNumberType::FixedLine => Some(Self::FixedLine),
            PhoneNumberType::VoIP => Some(Self::Voip),
            PhoneNumberType::PersonalNumber => Some(Self::Personal),
            PhoneNumberType::TollFree
            | PhoneNumberType::PremiumRate
            | PhoneNumberType::SharedCost
            | PhoneNumberType::Pager
            | PhoneNumberType::UAN
            | PhoneNumberType::VoiceMail
            | PhoneNumberType::Unknown => None,
        }
    }
}

/// The reasons to refuse a number, in the wire contract's order of precedence.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PhoneError {
    /// Not 9–15 digits after normalisation, or a character that is no digit.
    #[error("the number is not 9 to 15 digits")]
    Address,
    /// No such country calling code, no such range in the country's numbering plan, or a number that
    /// gets no SMS, such as a premium rate one.
    #[error(
        "the number has no known country calling code or number range, or is of a type that gets no SMS"
    )]
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
    /// A number of Argentina is the mobile one, with the 9, however it is written.
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
        // A number of unknown type is one that is not valid.
        let number_type = NumberType::of(number.get_type()).ok_or(PhoneError::Prefix)?;
        let region = number.get_region_code().filter(|r| *r != Region::World);
        let region = region.ok_or(PhoneError::Prefix)?;
        let e164 = number.format_as(PhoneNumberFormat::E164).into_owned();
        if number_type == NumberType::FixedLine
            && let Some(mobile) = mobile_of(&e164, number.country_code)
        {
            return Ok(Self {
                e164: mobile,
                country: Country::from(region),
                number_type: NumberType::Mobile,
            });
        }
        // A trunk prefix may have been all that made it long enough.
        if !DIGITS.contains(&(e164.len() - 1)) {
            return Err(PhoneError::Address);
        }
        Ok(Self {
            e164,
            country: Country::from(region),
            number_type,
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

    /// The type of line.
    #[must_use]
    pub fn number_type(&self) -> NumberType {
        self.number_type
    }
}

/// The mobile number of what reads as a fixed line, where the two differ by a digit after the calling
/// code: Argentina's 9. People leave it out at will, and in a text message's address it is one number.
fn mobile_of(e164: &str, calling_code: i32) -> Option<String> {
    let token = PHONE_NUMBER_UTIL.get_country_mobile_token(calling_code)?;
    let national = e164.strip_prefix(&format!("+{calling_code}"))?;
    let mobile = format!("+{calling_code}{token}{national}");
    let read = PHONE_NUMBER_UTIL.parse(&mobile, None).ok()?;
    (read.get_type() == PhoneNumberType::Mobile).then_some(mobile)
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneNumber")
            .field("country", &self.country)
            .finish_non_exhaustive()
    }
}

/// A country as ISO 3166-1 alpha-2 (`GB`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Country(String);

/// The text is no country that can be sent to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CountryError {
    /// No country of that code has numbers.
    #[error("must be a country in ISO 3166-1 alpha-2, such as GB")]
    Unknown,
    /// A code that is used for the country elsewhere.
    #[error("must be a country in ISO 3166-1 alpha-2; did you mean {0}?")]
    Alias(&'static str),
    /// Its numbers count as another country's.
    #[error("can never match: its numbers count as those of {}", .0.as_str())]
    Elsewhere(Country),
    /// None of its numbers is one that can be sent to.
    #[error("can never match: none of its numbers has 9 to 15 digits and gets SMS")]
    NoNumbers,
}

/// Codes that people write for a country whose code is another: the common name's letters (ISO 3166-1 reserves
/// them), and the European Union's own code.
const ALIASES: [(&str, &str); 2] = [("UK", "GB"), ("EL", "GR")];

impl Country {
    /// Reads a country that has numbers which can be sent to, by libphonenumber's examples.
    ///
    /// # Errors
    /// When there is none of that code, or no number can ever count as its own.
    pub fn parse(written: &str) -> Result<Self, CountryError> {
        let Some(region) = region(written) else {
            let alias = ALIASES.into_iter().find(|(alias, _)| *alias == written);
            return Err(alias.map_or(CountryError::Unknown, |(_, code)| CountryError::Alias(code)));
        };
        let country = Self::from(region);
        let mut elsewhere = None;
        for number in examples(region) {
            if number.country == country {
                return Ok(country);
            }
            elsewhere = Some(number.country);
        }
        Err(elsewhere.map_or(CountryError::NoNumbers, CountryError::Elsewhere))
    }

    /// The types of its numbers, as far as libphonenumber has examples of them.
    #[must_use]
    pub fn number_types(&self) -> BTreeSet<NumberType> {
        let numbers = region(&self.0).map(examples).into_iter().flatten();
        numbers.map(|number| number.number_type).collect()
    }

    /// The countries that have its calling code too, where people know the code as this country's: `GB`
    /// for +44, which Guernsey, Jersey and the Isle of Man share.
    #[must_use]
    pub fn sharers(&self) -> Vec<Self> {
        let Some(region) = region(&self.0) else {
            return Vec::new();
        };
        let code = PHONE_NUMBER_UTIL.get_country_code_for_region(region);
        let main = code.and_then(|code| PHONE_NUMBER_UTIL.get_region_for_country_code(code));
        if main != Some(region) {
            return Vec::new();
        }
        let sharers =
            code.and_then(|code| PHONE_NUMBER_UTIL.get_regions_for_country_calling_code(code));
        let others = sharers
            .into_iter()
            .flatten()
            .filter(|other| *other != region);
        let others = others.filter_map(|other| Self::parse(&other.as_region_str()).ok());
        others.collect()
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

/// The region of that code that libphonenumber knows numbers of.
fn region(code: &str) -> Option<Region> {
    let mut regions = PHONE_NUMBER_UTIL.get_supported_regions();
    regions.find(|region| *region.as_region_str() == *code)
}

/// libphonenumber's examples of a region's numbers, those that can be sent to. One that is too short is
/// made longer: in Tokelau, numbers of four to seven digits begin alike.
fn examples(region: Region) -> impl Iterator<Item = PhoneNumber> {
    let types = [
        PhoneNumberType::Mobile,
        PhoneNumberType::FixedLine,
        PhoneNumberType::VoIP,
        PhoneNumberType::PersonalNumber,
    ];
    types.into_iter().filter_map(move |number_type| {
        let example = PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(region, number_type);
        let mut example = example
            .ok()?
            .format_as(PhoneNumberFormat::E164)
            .into_owned();
        loop {
            match PhoneNumber::parse(&example) {
                Err(PhoneError::Address) if example.len() <= *DIGITS.start() => example.push('0'),
                read => break read.ok(),
            }
        }
    })
}

impl From<Region> for Country {
    fn from(region: Region) -> Self {
        Self((*region.as_region_str()).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn a_number_that_gets_no_sms_is_none() {
        for written in [
            "+44 909 123 4567", // premium rate
            "+1 900 234 5678",
            "+44 843 123 4567",
            "+44 800 123 4567", // toll free
            "+44 76 0012 3456", // pager
            "+44 55 0012 3456", // UAN
            "+870 773 111 632", // satellite phones
            "+881 612 345 678",
            "+882 10 12345678", // international networks
            "+883 5100 12345",
            "+878 10 1234567890",
            "+979 123 456 789", // international premium rate
            "+800 1234 5678",
            "+808 1234 5678",
        ] {
            assert_eq!(read(written), Err(PhoneError::Prefix), "{written}");
        }
    }

    #[test]
    fn a_number_has_its_type() {
        for (written, number_type) in [
            ("+447400123456", NumberType::Mobile),
            ("+14155550123", NumberType::FixedLineOrMobile),
            ("+442079460123", NumberType::FixedLine),
            ("+445612345678", NumberType::Voip),
            ("+447012345678", NumberType::Personal),
        ] {
            let number = PhoneNumber::parse(written).unwrap();
            assert_eq!(number.number_type(), number_type, "{written}");
            assert_eq!(json!(number_type), number_type.as_str());
        }
    }

    #[test]
    fn a_mobile_of_argentina_is_one_number_with_and_without_its_nine() {
        for written in [
            "+54 9 11 6673 9093",
            "+54 11 6673 9093",
            "+54 11 15 6673 9093",
            "+54 011 15 6673 9093",
        ] {
            let number = PhoneNumber::parse(written).unwrap();
            assert_eq!(number.expose(), "+5491166739093", "{written}");
            assert_eq!(number.number_type(), NumberType::Mobile, "{written}");
        }
    }

    #[test]
    fn a_country_is_one_that_has_numbers() {
        for known in ["GB", "GG", "US", "GP", "TK"] {
            assert_eq!(Country::parse(known).unwrap().as_str(), known);
        }
        for unknown in ["", "gb", "XX", "GBR", "*", "001"] {
            assert_eq!(
                Country::parse(unknown),
                Err(CountryError::Unknown),
                "{unknown}"
            );
        }
        for (alias, meant) in [("UK", "GB"), ("EL", "GR")] {
            assert_eq!(Country::parse(alias), Err(CountryError::Alias(meant)));
        }
    }

    #[test]
    fn a_country_whose_numbers_can_never_match_is_refused() {
        let regions = PHONE_NUMBER_UTIL.get_supported_regions();
        let refused = regions.filter_map(|region| {
            let error = Country::parse(&region.as_region_str()).err()?;
            Some((region.as_region_str().to_string(), error))
        });
        let mut refused: Vec<_> = refused.collect();
        refused.sort_by(|one, other| one.0.cmp(&other.0));
        let elsewhere = |code: &str| CountryError::Elsewhere(Country(code.to_owned()));
        let expected = [
            ("AC", CountryError::NoNumbers),
            ("CK", CountryError::NoNumbers),
            ("EH", elsewhere("MA")),
            ("FK", CountryError::NoNumbers),
            ("MF", elsewhere("GP")),
            ("SH", CountryError::NoNumbers),
            ("TA", CountryError::NoNumbers),
        ];
        assert_eq!(refused, expected.map(|(code, e)| (code.to_owned(), e)));
    }

    #[test]
    fn countries_behind_anothers_calling_code_are_known() {
        let sharers = |code: &str| {
            let sharers = Country::parse(code).unwrap().sharers();
            let codes: Vec<_> = sharers.into_iter().map(|country| country.0).collect();
            codes.join(",")
        };
        let types = |code: &str| Country::parse(code).unwrap().number_types();
        assert!(!types("US").contains(&NumberType::Mobile));
        assert!(types("GB").contains(&NumberType::Personal));
        assert_eq!(sharers("GB"), "GG,IM,JE");
        assert_eq!(sharers("GG"), "");
        assert_eq!(sharers("DE"), "");
        assert!(sharers("US").contains("CA"));
    }

    #[test]
    fn a_number_does_not_print() {
        let number = PhoneNumber::parse("+447400123456").unwrap();
        assert!(!format!("{number:?}").contains("7400"));
    }
}
