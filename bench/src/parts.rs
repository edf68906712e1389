//! What the product does without asking anyone, each alone.

use std::collections::BTreeMap;
use std::hint::black_box;

use clap::ValueEnum;
use twofa::domain::api_key::ApiKey;
use twofa::domain::code::{Code, Guess};
use twofa::domain::digest::Digest;
use twofa::domain::ids::{ClientId, RequestId};
use twofa::domain::key_set::KeySet;
use twofa::domain::message::Sms;
use twofa::domain::phone;
use twofa::domain::phone::PhoneNumber;
use twofa::domain::template::TemplateText;

use crate::stage::{self, Failed};

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Reads an API key and digests it.
    Key,
    /// Reads a phone number and checks it against the world's number ranges.
    Number,
    /// Reads a template's text.
    TextParse,
    /// Puts code and parameters into a text.
    TextRender,
    /// Counts the parts of an SMS in GSM-7.
    SmsGsm7,
    /// Counts the parts of an SMS in UCS-2.
    SmsUcs2,
    /// Draws a code.
    Code,
    /// Draws a request's id and writes it.
    IdRandom,
    /// Reads a request's id.
    IdParse,
    /// Digests a code.
    CodeDigest,
    /// Digests a guess under the three peppers.
    GuessDigests,
    /// Digests a recipient.
    RecipientDigest,
    /// Writes a digest as text.
    DigestEncode,
}

/// What the parts work on.
pub struct Subject {
    key: String,
    client: ClientId,
    id: RequestId,
    id_text: String,
    number: PhoneNumber,
    code: Code,
    guess: Guess,
    text: TemplateText,
    parameters: BTreeMap<String, String>,
    secret: KeySet,
    digest: Digest,
}

/// A text with a parameter.
const TEXT: &str =
    "${code} confirms your payment of ${amount}. If you did not ask for it, ignore this message.";

impl Subject {
    /// The same at every run, but for what is random.
    ///
    /// # Errors
    /// When the product does not take it.
    pub fn new() -> Result<Self, Failed> {
        phone::open_metadata();
        let seed = "BenchBenchBenchBenchBenchBenchBenchBenchBenchBenchBenchBenchBenc";
        let secret = KeySet::parse(&serde_json::json!({ "seed": seed }).to_string())?;
        let client = ClientId::parse("bench-0")?;
        let id = RequestId::random()?;
        let code = Code::random(6)?;
        Ok(Self {
            key: stage::owners_key(),
            id_text: id.to_string(),
            number: PhoneNumber::parse("+44 7400 123456")?,
            guess: Guess::parse(code.expose()).ok_or("no guess")?,
            text: TemplateText::parse(TEXT)?,
            parameters: BTreeMap::from([("amount".to_owned(), "12.50 EUR".to_owned())]),
            digest: secret.code_digest(&client, id, &code),
            client,
            id,
            code,
            secret,
        })
    }

    /// Does it once.
    ///
    /// # Errors
    /// When the product does not.
    pub fn run(&self, part: Part) -> Result<(), Failed> {
        let (secret, client, id) = (&self.secret, black_box(&self.client), black_box(self.id));
        match part {
            Part::Key => {
                let key = ApiKey::parse(black_box(&self.key)).ok_or("no key")?;
                black_box(key.digest());
            }
            Part::Number => drop(black_box(PhoneNumber::parse(black_box("+44 7400 123456"))?)),
            Part::TextParse => drop(black_box(TemplateText::parse(black_box(TEXT))?)),
            Part::TextRender => {
                let text = black_box(&self.text);
                drop(black_box(text.render(&self.code, &self.parameters)?));
            }
            Part::SmsGsm7 => {
                let text = "123456 is your sign-in code. Never share it with anyone.";
                drop(black_box(Sms::compose(black_box(text).to_owned())?));
            }
            Part::SmsUcs2 => {
                let text = "123456 is your sign-in code. Don’t share it with anyone.";
                drop(black_box(Sms::compose(black_box(text).to_owned())?));
            }
            Part::Code => drop(black_box(Code::random(black_box(6))?)),
            Part::IdRandom => drop(black_box(RequestId::random()?.to_string())),
            Part::IdParse => {
                black_box(RequestId::parse(black_box(&self.id_text)).ok_or("no id")?);
            }
            Part::CodeDigest => {
                black_box(secret.code_digest(client, id, black_box(&self.code)));
            }
            Part::GuessDigests => {
                black_box(secret.guess_digests(client, id, black_box(&self.guess)));
            }
            Part::RecipientDigest => {
                black_box(secret.recipient_digest(client, black_box(&self.number)));
            }
            Part::DigestEncode => drop(black_box(black_box(self.digest).encode())),
        }
        Ok(())
    }
}
