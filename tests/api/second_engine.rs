//! AWS's own DynamoDB Local in the place of the embedded engine, for a second opinion on every
//! expression: where `TWOFA_TEST_DYNAMODB` gives its address. `tests/engines/engines.py` runs all tests on it.
//!
//! It is of 2020 and gives the item that a condition failed on in transactions alone. So a refused
//! write is followed by a transaction that checks the same condition and changes nothing. Either that
//! is refused too, and the item comes with it; or the condition has come to hold, and the write is
//! made again. The answer is in both cases one that DynamoDB could have given to the write alone.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{BillingMode, TimeToLiveSpecification};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use twofa::entropy;
use twofa_local::services;

/// Where DynamoDB Local listens, such as `127.0.0.1:8000`.
const ADDRESS: &str = "TWOFA_TEST_DYNAMODB";

/// A file to which each expression is written with what became of it, a line of JSON for each
/// different pair.
const RECORD: &str = "TWOFA_TEST_EXPRESSIONS";

const REFUSED: &str = "ConditionalCheckFailedException";

/// The outcome of what was done.
const MET: &str = "met";

/// What makes up an expression's shape, beside the operation.
const EXPRESSIONS: [&str; 5] = [
    "UpdateExpression",
    "ConditionExpression",
    "KeyConditionExpression",
    "FilterExpression",
    "ProjectionExpression",
];

/// One test's database in it.
#[derive(Clone)]
struct Database {
    http: reqwest::Client,
    url: String,
    /// The engine keeps a database for each access key, and verifies no signature.
    access_key: String,
}

/// What `tests/engines/engines.py` says to the tests.
#[expect(
    clippy::disallowed_methods,
    reason = "it configures the tests and not the product"
)]
pub fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// Where a fresh database listens, with the tables of the `embedded` engine; `None` where that one is
/// to do.
pub async fn start(embedded: SocketAddr, tasks: &mut JoinSet<()>) -> Option<SocketAddr> {
    let engine = told(ADDRESS)?;
    let database = Database {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        url: format!("http://{engine}/"),
        access_key: entropy::string(20, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ").unwrap(),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().fallback(pass).with_state(database);
    tasks.spawn(services::serve(listener, routes));
    let client = |address| Client::new(&services::sdk_config(address));
    copy_tables(&client(embedded), &client(address)).await;
    Some(address)
}

async fn copy_tables(from: &Client, to: &Client) {
    let tables = from.list_tables().send().await.unwrap();
    for name in tables.table_names() {
        let described = from.describe_table().table_name(name).send().await.unwrap();
        let table = described.table.unwrap();
        assert!(table.global_secondary_indexes.is_none(), "to be copied too");
        to.create_table()
            .table_name(name)
            .set_attribute_definitions(table.attribute_definitions)
            .set_key_schema(table.key_schema)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
        let ttl = from.describe_time_to_live().table_name(name);
        let ttl = ttl.send().await.unwrap().time_to_live_description;
        if let Some(attribute) = ttl.and_then(|ttl| ttl.attribute_name) {
            let ttl = TimeToLiveSpecification::builder()
                .attribute_name(attribute)
                .enabled(true)
                .build()
                .unwrap();
            to.update_time_to_live()
                .table_name(name)
                .time_to_live_specification(ttl)
                .send()
                .await
                .unwrap();
        }
    }
}

async fn pass(
    State(database): State<Database>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let target = headers["x-amz-target"].to_str().unwrap();
    let request: Value = serde_json::from_slice(&body).unwrap();
    let wants_item = request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD";
    loop {
        let (status, mut answer) = database.call(target, &request).await;
        record(target, &request, status, &answer);
        if wants_item && error(&answer) == Some(REFUSED) {
            match database.refused_on(&request).await {
                Some(Value::Null) => {}
                Some(item) => answer["Item"] = item,
                None => continue,
            }
        }
        let content_type = [(CONTENT_TYPE, "application/x-amz-json-1.0")];
        return (status, content_type, answer.to_string());
    }
}

impl Database {
    async fn call(&self, target: &str, request: &Value) -> (StatusCode, Value) {
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential={}/21000101/us-east-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=none",
            self.access_key
        );
        let answer = self
            .http
            .post(&self.url)
            .header("x-amz-target", target)
            .header(AUTHORIZATION, credential)
            .header(CONTENT_TYPE, "application/x-amz-json-1.0")
            .body(request.to_string())
            .send()
            .await
            .unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// The item, or null where there is none, on which the condition of `request` fails; `None` when
    /// it does not.
    async fn refused_on(&self, request: &Value) -> Option<Value> {
        let condition = request["ConditionExpression"].as_str().unwrap();
        let key = match &request["Key"] {
            Value::Null => json!({ "id": request["Item"]["id"] }),
            key => key.clone(),
        };
        let mut check = json!({
            "TableName": request["TableName"],
            "Key": key,
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        });
        // What only the update mentions would be refused as unused.
        let mentioned: BTreeSet<_> = condition
            .split(|c: char| !c.is_alphanumeric() && !"#:_".contains(c))
            .collect();
        for field in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
            let all = request[field].as_object().into_iter().flatten();
            let used: Map<_, _> = all
                .filter(|(name, _)| mentioned.contains(name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if !used.is_empty() {
                check[field] = used.into();
            }
        }
        let transaction = json!({ "TransactItems": [{ "ConditionCheck": check }] });
        let target = "DynamoDB_20120810.TransactWriteItems";
        let (status, mut answer) = self.call(target, &transaction).await;
        let reason = &mut answer["CancellationReasons"][0];
        let refused = reason["Code"] == "ConditionalCheckFailed";
        assert!(refused || status.is_success(), "{answer}");
        refused.then(|| reason["Item"].take())
    }
}

/// The name of the error in an answer.
fn error(answer: &Value) -> Option<&str> {
    answer["__type"].as_str()?.rsplit('#').next()
}

fn record(target: &str, request: &Value, status: StatusCode, answer: &Value) {
    let Some(file) = told(RECORD) else {
        return;
    };
    let failed = error(answer).unwrap_or_default();
    let Some(items) = request["TransactItems"].as_array() else {
        let outcome = if status.is_success() { MET } else { failed };
        return write(file, target, request, outcome);
    };
    for (number, item) in items.iter().enumerate() {
        let reason = &answer["CancellationReasons"][number]["Code"];
        let outcome = match reason.as_str() {
            _ if status.is_success() => MET,
            Some("ConditionalCheckFailed") => REFUSED,
            // It is not told whether the condition of one beside another would have held.
            Some("None") => continue,
            _ => failed,
        };
        for (kind, part) in item.as_object().into_iter().flatten() {
            write(file.clone(), &format!("{target}.{kind}"), part, outcome);
        }
    }
}

/// Writes a line for the expressions of one write or read, unless it is there.
fn write(file: String, operation: &str, request: &Value, outcome: &str) {
    static WRITTEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let expressions: Map<_, _> = EXPRESSIONS
        .iter()
        .filter(|name| request[**name].is_string())
        .map(|name| ((*name).to_owned(), request[*name].clone()))
        .collect();
    if expressions.is_empty() && outcome == MET {
        return;
    }
    let line = json!({ "operation": operation, "expressions": expressions, "outcome": outcome });
    let line = line.to_string();
    let mut written = WRITTEN.lock().unwrap();
    if !written.contains(&line) {
        let file = OpenOptions::new().create(true).append(true).open(file);
        writeln!(file.unwrap(), "{line}").unwrap();
        written.insert(line);
    }
}
