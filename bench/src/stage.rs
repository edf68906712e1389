//! The laptop's services, with clients and as many rows as a bench asks for.

use std::collections::HashMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dynoxide::actions::get_item::GetItemRequest;
use dynoxide::{AttributeValue, ImportOptions, Item};
use twofa::clock::Clock;
use twofa::domain::api_key::{ApiKey, StoredKey};
use twofa::domain::client::{Countries, Profile};
use twofa::domain::ids::{ClientId, RequestId, TemplateId};
use twofa::domain::key_set::CodeSeed;
use twofa::domain::limits::Limits;
use twofa::domain::template::TemplateFields;
use twofa::state::RequestState;
use twofa::store::{Begun, Call, Charge, NewVerification};
use twofa_local::guard::Guard;
use twofa_local::services::{self, Backends, Storage, VERIFICATIONS_TABLE};

/// Any failure: a bench that cannot be run as it is meant to be has no figures.
pub type Failed = Box<dyn Error + Send + Sync>;

/// The template of all clients.
pub const TEMPLATE: &str = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01";

/// What that template says.
pub const TEXT: &str = "${code} is your sign-in code. Never share it with anyone.";

/// The second half of all clients' keys, which open nothing but a bench.
const KEY: &str = "BenchOnlyBenchOnlyBenchOnlyBenchOnlyBench12";

/// Whose the rows are that a stage is filled with.
const OWNER: usize = 0;

/// How many rows are made at a time.
const CHUNK: usize = 10_000;

/// For how long the codes of these rows live.
const LIFE: Duration = Duration::from_hours(24);

/// A code that is stored and marked as sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The request's id.
    pub id: String,
    /// Its code.
    pub code: String,
}

/// The API key of the client of that number.
#[must_use]
pub fn api_key(client: usize) -> String {
    format!("2fa_bench-{client}_{KEY}")
}

fn client_id(client: usize) -> Result<ClientId, Failed> {
    Ok(ClientId::parse(&format!("bench-{client}"))?)
}

/// The API key of the client whose codes a stage is filled with.
#[must_use]
pub fn owners_key() -> String {
    api_key(OWNER)
}

/// Services in memory, on free ports, with so many clients.
///
/// # Errors
/// When they cannot be started or filled.
pub async fn start(clients: usize) -> Result<Backends, Failed> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let backends = Backends::start(any, any, &Storage::Memory, &Guard::default()).await?;
    let directory = state(&backends).directory;
    for number in 0..clients {
        let id = client_id(number)?;
        let key = ApiKey::parse(&api_key(number)).ok_or("a client's key is none")?;
        let profile = Profile {
            api_keys: vec![StoredKey {
                digest: key.digest(),
                created_at: 0,
                expires_at: None,
            }],
            ..Profile::new("Bench", Countries::All)
        };
        let template = TemplateFields {
            id: TemplateId::parse(TEMPLATE).ok_or("the template's id is none")?,
            name: "Login".to_owned(),
            from: "Twofa".to_owned(),
            text: TEXT.to_owned(),
            ttl: 300,
            code_length: 6,
            max_attempts: 5,
        };
        directory.put_profile(&id, &profile).await?;
        directory.put_template(&id, &template).await?;
    }
    Ok(backends)
}

/// What the handlers may use on this stage.
#[must_use]
pub fn state(backends: &Backends) -> RequestState {
    services::state(backends.dynamodb, backends.sns, Clock::System)
}

/// Adds so many codes to the table of verifications. The product stores one; the others are copies
/// of it, each with its own id and digest.
///
/// # Errors
/// When the database does not take them.
pub async fn fill(backends: &Backends, rows: usize) -> Result<Vec<Sent>, Failed> {
    let state = state(backends);
    let now = state.clock.now();
    let secret = state.key_set_reader.get(now).await?;
    let owner = client_id(OWNER)?;
    let (first, seed) = (RequestId::random()?, CodeSeed::random()?);
    let code = secret.seeded_code(&owner, first, &seed, 6);
    let limits = Limits::default();
    let call = Call::new()?;
    let new = NewVerification {
        id: first,
        client: &owner,
        code: secret.code_digest(&owner, first, &code),
        seed,
        code_length: 6,
        max_attempts: 5,
        now,
        expires_at: now.plus(LIFE),
        call: &call,
        lease_until: now,
        charge: Some(Charge {
            // Any digest does: nobody is ever asked for it.
            recipient: secret.body_digest(&owner, &[]),
            limits: &limits,
            admitted: 75,
            parts: 1,
            prepaid: false,
        }),
        keyed: None,
    };
    let verifications = state.verifications;
    let begun = verifications.begin(new, None).await?;
    if !matches!(begun, Begun::Begun) {
        return Err(format!("the first row is not stored: {begun:?}").into());
    }
    let message_id = RequestId::random()?.to_string();
    verifications.mark_sent(first, seed, &message_id).await?;
    let stored = backends.engine.database().get_item(GetItemRequest {
        table_name: VERIFICATIONS_TABLE.to_owned(),
        key: HashMap::from([("id".to_owned(), AttributeValue::S(first.to_string()))]),
        ..GetItemRequest::default()
    })?;
    let mut pattern = stored.item.ok_or("the first row is not stored")?;
    let named = |name: &&String| name.starts_with("code#");
    let name = pattern.keys().find(named).cloned();
    let name = name.ok_or("the first row has no code")?;
    let verified = pattern.remove(&name).ok_or("the first row has no code")?;
    let mut sent = Vec::with_capacity(rows);
    while sent.len() < rows {
        let mut items: Vec<Item> = Vec::with_capacity(CHUNK);
        for _ in 0..CHUNK.min(rows - sent.len()) {
            let id = RequestId::random()?;
            let digest = secret.code_digest(&owner, id, &code);
            let mut item = pattern.clone();
            item.insert("id".to_owned(), AttributeValue::S(id.to_string()));
            item.insert(format!("code#{}", digest.encode()), verified.clone());
            items.push(item);
            sent.push(Sent {
                id: id.to_string(),
                code: code.expose().to_owned(),
            });
        }
        let options = ImportOptions::default();
        let database = backends.engine.database();
        database.import_items(VERIFICATIONS_TABLE, items, options)?;
    }
    Ok(sent)
}
