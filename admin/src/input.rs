//! The input of commands: standard input, files, numbers that are better kept out of a shell's history,
//! and the clients that are named.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use clap::Args;
use twofa::domain::client::Client;
use twofa::domain::ids::ClientId;
use twofa::domain::phone::PhoneNumber;

use crate::error::Error;
use crate::target::Target;

/// The path that stands for standard input.
const STDIN: &str = "-";

/// The whole of a file, or of standard input where it is called `-`.
pub(crate) fn file(path: &Path) -> Result<String, Error> {
    let read = if path.as_os_str() == STDIN {
        stdin()
    } else {
        fs::read_to_string(path)
    };
    read.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

/// `written`, or where it is `-`, standard input without the line break at its end.
pub(crate) fn or_stdin(written: &str) -> Result<String, Error> {
    if written != STDIN {
        return Ok(line_breaks(written));
    }
    let text = file(Path::new(STDIN))?;
    Ok(line_breaks(&text).trim_end_matches('\n').to_owned())
}

/// `text` with its line breaks as a message has them: an editor may have written CR LF.
pub(crate) fn line_breaks(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// A recipient of a client.
#[derive(Debug, Args)]
pub(crate) struct RecipientOptions {
    /// The client's id: limits and test numbers are each client's own
    #[arg(long)]
    pub(crate) client: String,
    /// The number in international form, spaces allowed; -: standard input, which keeps it out of
    /// the shell's history
    #[arg(required = true, value_name = "NUMBER")]
    number: Vec<String>,
}

impl RecipientOptions {
    /// The number. What was typed is not repeated in the error.
    pub(crate) fn number(&self) -> Result<PhoneNumber, Error> {
        let written = or_stdin(&self.number.join(" "))?;
        PhoneNumber::parse(&written).map_err(|error| Error::invalid("number", error))
    }
}

/// A number that tells only those who know it anyway which one it is: `+44…56`.
pub(crate) fn masked(number: &PhoneNumber) -> String {
    let digits = number.expose();
    let (start, end) = (digits.get(..3), digits.get(digits.len() - 2..));
    format!("{}…{}", start.unwrap_or_default(), end.unwrap_or_default())
}

/// The client that is called `written`, as it is now.
pub(crate) async fn client(target: &Target, written: &str) -> Result<Client, Error> {
    let id = client_id(written)?;
    let client = target.directory.query(&id).await?;
    client.ok_or(Error::NoClient(id))
}

/// Reads a client's name. It is not repeated when it is none: it may be a key in the wrong target.
pub(crate) fn client_id(written: &str) -> Result<ClientId, Error> {
    ClientId::parse(written).map_err(|error| Error::invalid("client", error))
}
