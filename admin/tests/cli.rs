//! The command line as an operator meets it: the program itself, the laptop's services, and the API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use twofa::clock::Clock;
use twofa::domain::ids::ClientId;
use twofa::http::all_endpoints;
use twofa::state::StackLimits;
use twofa::store::Directory;
use twofa_local::guard::Guard;
use twofa_local::services::{
    self, Addresses, DIRECTORY_TABLE, SECRET, Services, Storage, VERIFICATIONS_TABLE, sdk_config,
};

/// A recipient; no output may show all of it.
const NUMBER: &str = "+44 7400 123456";
const NUMBER_DIGITS: &str = "7400123456";

/// What a command did.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }

    /// The error, as scripts get it, and the fields that it names.
    fn error(&self) -> (Value, Vec<String>) {
        let error: Value = serde_json::from_str(&self.err).unwrap();
        let fields = error["fields"].as_array().unwrap().iter();
        let fields = fields.map(|fault| fault["field"].as_str().unwrap().to_owned());
        (error.clone(), fields.collect())
    }
}

/// The program without any place.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twofa"));
    // Nothing of whoever runs the tests.
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

async fn run(mut command: Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may end without reading.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn nowhere(arguments: &[&str]) -> Ran {
    let mut command = program();
    command.args(arguments);
    run(command, "").await
}

/// A laptop's services with an operator at it.
struct Laptop {
    services: Services,
    seed: String,
    numbers: AtomicU32,
}

/// A write of a command that waits for the test's word.
type Held = oneshot::Sender<NetworkFault>;

/// What becomes of a write.
#[derive(Clone, Copy)]
enum NetworkFault {
    /// It reaches DynamoDB.
    Made,
    /// It met a transaction.
    Conflict,
    /// It reaches DynamoDB, and its answer is lost.
    Lost,
}

impl Laptop {
    async fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let addresses = Addresses {
            api: any,
            dynamodb: any,
            sns: any,
        };
        let services = Services::start(
            addresses,
            &Storage::Memory,
            &Guard::default(),
            Clock::System,
        )
        .await
        .unwrap();
        let request = http().post(format!("http://{}", services.addresses.sns));
        let request = request.header("x-amz-target", "secretsmanager.GetSecretValue");
        let secret = request.body(json!({ "SecretId": SECRET }).to_string());
        let secret: Value = secret.send().await.unwrap().json().await.unwrap();
        let stored: Value = serde_json::from_str(secret["SecretString"].as_str().unwrap()).unwrap();
        let seed = stored["seed"].as_str().unwrap().to_owned();
        let numbers = AtomicU32::new(200_000);
        Self {
            services,
            seed,
            numbers,
        }
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "").await
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let dynamodb = self.services.addresses.dynamodb;
        self.run_at(dynamodb, arguments, input).await
    }

    fn command(&self, dynamodb: SocketAddr, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(["--local", "--dynamodb-endpoint"]);
        command.arg(format!("http://{dynamodb}"));
        command.arg("--sns-endpoint");
        command.arg(format!("http://{}", self.services.addresses.sns));
        command.args(arguments);
        command
    }

    /// Runs a command and reads all that it says for what nobody may see.
    async fn run_at(&self, dynamodb: SocketAddr, arguments: &[&str], input: &str) -> Ran {
        let ran = run(self.command(dynamodb, arguments), input).await;
        let said = format!("{}{}", ran.out, ran.err);
        assert!(!said.contains(&self.seed), "{arguments:?} tells the secret");
        let bare = said.replace(' ', "");
        assert!(
            !bare.contains(NUMBER_DIGITS),
            "{arguments:?} tells a number"
        );
        let makes_key = arguments.starts_with(&["key", "add"]) || arguments.contains(&"--with-key");
        let keys = said.matches("2fa_").count();
        let may_show = usize::from(makes_key && ran.code == 0);
        assert_eq!(keys, may_show, "{arguments:?} shows {keys} keys");
        ran
    }

    /// What a command that is carried out says to scripts.
    async fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        ran.json()
    }

    /// The exit code of a command that is refused, what it says to scripts, and the fields it names.
    async fn refused(&self, arguments: &[&str]) -> (i32, Value, Vec<String>) {
        let ran = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(ran.out, "", "{arguments:?}");
        let (error, fields) = ran.error();
        (ran.code, error, fields)
    }

    async fn add_client(&self, id: &str, more: &[&str]) -> Value {
        let arguments = [&["client", "add", id, "--countries", "GB"], more].concat();
        self.json(&arguments).await
    }

    async fn add_template(&self, client: &str, name: &str, text: &str) -> String {
        let arguments = [
            "template", "add", client, name, "--from", "Shop", "--text", text,
        ];
        let added = self.json(&arguments).await;
        added["template"]["id"].as_str().unwrap().to_owned()
    }

    /// Runs a command that changes something, and asks `meanwhile` before each of its writes what
    /// becomes of it; returns how many there were.
    async fn run_between(
        &self,
        arguments: &[&str],
        input: &str,
        mut meanwhile: impl AsyncFnMut(usize) -> NetworkFault,
    ) -> usize {
        let (address, mut held) = self.hold_writes().await;
        let ran = self.run_at(address, arguments, input);
        let mut writes = 0;
        let watch = async {
            while let Some(write) = held.recv().await {
                let fault = meanwhile(writes).await;
                writes += 1;
                let _ = write.send(fault);
            }
        };
        let ran = tokio::select! {
            ran = ran => ran,
            () = watch => panic!("nothing holds the writes"),
        };
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        writes
    }

    /// Runs a command that changes `client`, and before its first write another that names it `name`.
    async fn overtaken(&self, arguments: &[&str], input: &str, client: &str, name: &str) {
        let (address, mut held) = self.hold_writes().await;
        let slow = self.run_at(address, arguments, input);
        let faster = async {
            let write = held.recv().await.unwrap();
            let set = ["client", "set", client, "--name", name];
            assert_eq!(self.run(&set).await.code, 0);
            let _ = write.send(NetworkFault::Made);
            // What comes after is let through, to be seen if it is written.
            while let Some(write) = held.recv().await {
                let _ = write.send(NetworkFault::Made);
            }
            std::future::pending::<()>().await;
        };
        let ran = tokio::select! {
            ran = slow => ran,
            () = faster => panic!("nothing holds the writes"),
        };
        assert_eq!(ran.code, 1, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains("another operator changed"), "{}", ran.err);
    }

    /// DynamoDB, where every write is held.
    async fn hold_writes(&self) -> (SocketAddr, mpsc::Receiver<Held>) {
        let (sender, receiver) = mpsc::channel(1);
        let url = format!("http://{}", self.services.addresses.dynamodb);
        let forward = async move |mut headers: HeaderMap, body: Bytes| {
            let operation = headers["x-amz-target"].to_str().unwrap().to_owned();
            let mut fault = NetworkFault::Made;
            if ["UpdateItem", "PutItem", "DeleteItem", "TransactWriteItems"]
                .iter()
                .any(|write| operation.ends_with(write))
            {
                let (held, released) = oneshot::channel();
                sender.send(held).await.unwrap();
                fault = released.await.unwrap();
            }
            match fault {
                NetworkFault::Made | NetworkFault::Lost => {
                    headers.remove("host");
                    let answer = http().post(&url).headers(headers).body(body);
                    let answer = answer.send().await.unwrap();
                    if matches!(fault, NetworkFault::Lost) {
                        return (StatusCode::BAD_GATEWAY, "").into_response();
                    }
                    let status = answer.status();
                    let kind = [(CONTENT_TYPE, answer.headers()[CONTENT_TYPE].clone())];
                    (status, kind, answer.bytes().await.unwrap()).into_response()
                }
                NetworkFault::Conflict => {
                    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
                    let reasons = json!([{ "Code": "TransactionConflict" }]);
                    let error =
                        json!({ "__type": kind, "Message": "", "CancellationReasons": reasons });
                    let error = error.to_string();
                    (StatusCode::BAD_REQUEST, error).into_response()
                }
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", post(forward));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (address, receiver)
    }

    /// A function that has read nothing yet, of a stack with that cap.
    async fn cold(&self, daily_part_cap: Option<u32>) -> SocketAddr {
        let Addresses { dynamodb, sns, .. } = self.services.addresses;
        let dynamodb = twofa::aws::dynamodb(&sdk_config(dynamodb));
        let stack = StackLimits {
            daily_part_cap,
            allow_test_numbers: false,
        };
        let state = services::state_through(dynamodb, &sdk_config(sns), stack, Clock::System);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(services::serve(listener, all_endpoints(state)));
        address
    }

    /// What a function says that is asked to send to a number that was never sent to.
    async fn ask(&self, function: SocketAddr, key: &str, template: &str) -> String {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let order = json!({ "to": format!("+447400{number}"), "template_id": template });
        let (_, answer) = call_at(function, key, "request", &order).await;
        let said = match answer["status"].as_str() {
            Some("ACCEPTED") => &answer["status"],
            _ => &answer["error_message"],
        };
        said.as_str().unwrap().to_owned()
    }

    /// The same of the function that has answered before, and remembers the client for 30 seconds.
    async fn ask_warm(&self, key: &str, template: &str) -> String {
        self.ask(self.services.addresses.api, key, template).await
    }

    /// The same of a function that reads the client now.
    async fn ask_cold(&self, key: &str, template: &str) -> String {
        self.ask(self.cold(None).await, key, template).await
    }

    /// A client with a key and a template.
    async fn shop(&self, more: &[&str]) -> (String, String) {
        let added = self
            .add_client("shop", &[&["--with-key"], more].concat())
            .await;
        let login = self.add_template("shop", "Login", "${code}").await;
        (key_of(&added), login)
    }

    /// Calls the API.
    async fn call(&self, key: &str, verb: &str, body: &Value) -> (u16, Value) {
        call_at(self.services.addresses.api, key, verb, body).await
    }

    async fn send(&self, key: &str, to: &str, template: &str) -> (u16, Value) {
        let order = json!({ "to": to, "template_id": template });
        self.call(key, "request", &order).await
    }

    async fn inbox(&self) -> Vec<Value> {
        let url = format!("http://{}/inbox", self.services.addresses.api);
        http().get(url).send().await.unwrap().json().await.unwrap()
    }

    fn directory(&self) -> Directory {
        let config = sdk_config(self.services.addresses.dynamodb);
        Directory::new(twofa::aws::dynamodb(&config), DIRECTORY_TABLE)
    }

    /// Everything that is stored of a client, to see that nothing was written.
    async fn stored(&self, client: &str) -> String {
        let id = ClientId::parse(client).unwrap();
        format!("{:?}", self.directory().query(&id).await.unwrap())
    }
}

async fn call_at(function: SocketAddr, key: &str, verb: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{function}/v1.0/2fa/{verb}");
    let request = http().post(url).header("X-API-KEY", key).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn key_of(added: &Value) -> String {
    added["key"]["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_client_can_send_at_once() {
    let laptop = Laptop::start().await;
    let added = laptop
        .add_client("shop", &["--with-key", "--expires", "90d"])
        .await;
    let login = laptop
        .add_template("shop", "Login", "${code} is your code.")
        .await;
    let (status, accepted) = laptop.send(&key_of(&added), NUMBER, &login).await;
    assert_eq!((status, &accepted["status"]), (200, &json!("ACCEPTED")));
    assert_eq!(laptop.inbox().await[0]["from"], "Shop");

    let second = laptop.json(&["key", "add", "shop"]).await;
    assert_ne!(key_of(&second), key_of(&added));
    assert_eq!(second["key"]["expires_at"], Value::Null);
}

#[tokio::test]
async fn a_key_is_shown_once_and_then_by_its_id() {
    let laptop = Laptop::start().await;
    let shown = laptop
        .run(&["client", "add", "shop", "--countries", "*", "--with-key"])
        .await;
    let word = shown.out.split_whitespace().find(|w| w.starts_with("2fa_"));
    let key = twofa::domain::api_key::ApiKey::parse(word.unwrap()).unwrap();
    let digest = String::from(key.digest());
    // That no key is in what these say is checked at every run.
    let listed = laptop.run(&["client", "show", "shop"]).await;
    assert!(listed.out.contains(&digest[..8]) && !listed.out.contains(&digest));
    let described = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(described["keys"][0]["id"], digest[..8]);
    assert_eq!(described["keys"][0]["live"], true);
    assert!(!described.to_string().contains(&digest));
}

#[tokio::test]
async fn a_client_is_listed_and_shown() {
    let laptop = Laptop::start().await;
    let added = laptop
        .add_client(
            "shop",
            &[
                "--name",
                "The Shop",
                "--networks",
                "10.0.0.0/8,2001:db8::/32,192.0.2.1",
                "--max-price",
                "0.05",
                "--window",
                "1/60",
                "--window",
                "4/3600",
                "--max-failures",
                "50",
                "--lock-seconds",
                "3600",
                "--per-second",
                "7",
                "--per-day",
                "1000",
                "--balance",
                "12",
            ],
        )
        .await;
    let expected = json!({
        "id": "shop", "name": "The Shop", "disabled": [], "countries": ["GB"],
        "number_types": ["mobile", "fixed_line_or_mobile"],
        "networks": ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"], "max_price": "0.05",
        "limits": {
            "windows": [{ "sends": 1, "seconds": 60 }, { "sends": 4, "seconds": 3600 }],
            "max_failures": 50, "lock_seconds": 3600, "per_second": 7, "per_day": 1000,
        },
        "failures_that_lock": 51, "prepaid": true, "balance": 12, "keys": [], "test_numbers": 0,
        "templates": [], "warnings": [],
    });
    assert_eq!(laptop.json(&["client", "show", "shop"]).await, expected);
    let mut with_warning = expected;
    with_warning["warnings"] =
        json!(["countries: GB leaves out GG, IM, JE, which have its calling code too"]);
    assert_eq!(added, with_warning);

    let all = laptop.json(&["client", "list"]).await;
    let ids: Vec<_> = all["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["id"])
        .collect();
    assert_eq!(ids, ["demo", "shop"]);
    let table = laptop.run(&["client", "list"]).await.out;
    let row = table
        .lines()
        .find(|line| line.starts_with("shop "))
        .unwrap();
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words, ["shop", "The", "Shop", "on", "GB", "0", "0", "yes"]);
}

#[tokio::test]
async fn a_client_is_added_once() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--balance", "5"]).await;
    let before = laptop.stored("shop").await;
    let again = [
        "client",
        "add",
        "shop",
        "--countries",
        "FR",
        "--balance",
        "9",
    ];
    let (code, error, _) = laptop.refused(&again).await;
    assert_eq!(code, 1);
    assert!(error["error"].as_str().unwrap().contains("already"));
    assert_eq!(laptop.stored("shop").await, before);
    assert_eq!(laptop.json(&["client", "show", "shop"]).await["balance"], 5);
}

#[tokio::test]
async fn the_names_of_a_deployments_check_are_not_given() {
    let laptop = Laptop::start().await;
    let add = ["client", "add", "pre-traffic-x", "--countries", "GB"];
    let (code, error, fields) = laptop.refused(&add).await;
    assert_eq!((code, fields), (2, vec!["client".to_owned()]), "{error}");
}

#[tokio::test]
async fn only_what_is_said_is_changed() {
    let laptop = Laptop::start().await;
    laptop
        .add_client(
            "shop",
            &["--max-price", "0.05", "--per-day", "9", "--with-key"],
        )
        .await;
    let before = laptop.json(&["client", "show", "shop"]).await;
    let set = [
        "client",
        "set",
        "shop",
        "--countries",
        "gb, ie",
        "--per-day",
        "none",
    ];
    let changed = laptop.json(&set).await;
    assert_eq!(
        changed["changes"],
        json!([
            { "field": "countries", "old": ["GB"], "new": ["GB", "IE"] },
            { "field": "limits.per_day", "old": 9, "new": null },
        ])
    );
    let mut expected = before;
    expected["countries"] = json!(["GB", "IE"]);
    expected["limits"]["per_day"] = Value::Null;
    assert_eq!(laptop.json(&["client", "show", "shop"]).await, expected);
    assert_eq!(laptop.json(&set).await["changes"], json!([]));
    let said = laptop
        .run(&["client", "set", "shop", "--countries", "*"])
        .await
        .out;
    assert_eq!(said, "changed the client shop\n  countries: GB, IE → *\n");
}

#[tokio::test]
async fn how_many_failures_lock_is_shown_and_few_are_warned_about() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    laptop.add_template("shop", "Login", "${code}").await;
    let shown = laptop.run(&["client", "show", "shop"]).await;
    let line = "locks after          76 wrong guesses in a row";
    assert!(shown.out.contains(line), "{}", shown.out);
    let set = ["client", "set", "shop", "--max-failures", "44"];
    let set = laptop.run(&set).await;
    assert!(
        set.out
            .ends_with("a recipient is locked after 20 wrong guesses in a row\n"),
        "{}",
        set.out
    );
    assert_eq!(set.err, "");
    // One template of more guesses lowers it for all.
    let add = [
        "template",
        "add",
        "shop",
        "Lax",
        "--from",
        "Shop",
        "--text",
        "${code}",
        "--max-attempts",
        "8",
    ];
    let added = laptop.run(&add).await;
    assert!(
        added
            .out
            .ends_with("a recipient is now locked after 5 wrong guesses in a row\n"),
        "{}",
        added.out
    );
    let warning = "warning: 5 wrong guesses in a row lock a recipient";
    assert!(added.err.contains(warning), "{}", added.err);
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["failures_that_lock"], 5);
    assert_eq!(shown["warnings"].as_array().unwrap().len(), 1);
    let set = ["template", "set", "shop", "Lax", "--max-attempts", "5"];
    let set = laptop.run(&set).await;
    assert!(
        set.out
            .ends_with("a recipient is now locked after 20 wrong guesses in a row\n"),
        "{}",
        set.out
    );
    assert_eq!(set.err, "");
    // A lock that only an operator ends.
    let set = ["client", "set", "shop", "--lock-seconds", "none"];
    let set = laptop.run(&set).await;
    assert!(
        set.out.contains("limits.lock_seconds: 86400 → none"),
        "{}",
        set.out
    );
    let stored = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(stored["limits"]["lock_seconds"], Value::Null);
}

#[tokio::test]
async fn every_setting_that_is_not_valid_is_named_and_nothing_is_written() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    laptop.add_template("shop", "Login", "${code}").await;
    let before = laptop.stored("shop").await;
    let nine = "1/30".to_owned() + &" --window=1/30".repeat(8);
    for (option, value, field) in [
        ("--name", " ", "name"),
        ("--name", "a\u{7}b", "name"),
        ("--countries", "", "countries"),
        ("--countries", "GB,UK", "countries"),
        ("--countries", "GBR", "countries"),
        ("--countries", "GB,*", "countries"),
        ("--countries", "001", "countries"),
        // Their numbers count as Guadeloupe's; and those of the Cook Islands have eight digits.
        ("--countries", "GB,MF", "countries"),
        ("--countries", "CK", "countries"),
        ("--number-types", "", "number_types"),
        ("--number-types", "mobile,premium", "number_types"),
        ("--networks", "010.0.0.0/8", "networks"),
        ("--networks", "10.0.0.0/+8", "networks"),
        ("--networks", "10.0.0.0/33", "networks"),
        ("--networks", "10.0.0.1/8", "networks"),
        ("--networks", "::ffff:10.0.0.0/104", "networks"),
        ("--networks", "example.com", "networks"),
        ("--max-price", "0", "max_price"),
        ("--max-price", "0.00", "max_price"),
        ("--max-price", "1,5", "max_price"),
        ("--max-price", "5 USD", "max_price"),
        ("--max-price", ".5", "max_price"),
        ("--window", "5", "window"),
        ("--window", "5/10m", "window"),
        ("--window", "+5/600", "window"),
        // No template allows so few guesses that its codes would fit.
        ("--window", "1/3", "limits"),
        ("--window", "0/600", "limits.windows"),
        ("--window", "41/600", "limits.windows"),
        ("--window", "1/86401", "limits.windows"),
        // 30 codes of 5 guesses each could be alive at once; and so could 5, by default.
        ("--window", "30/600", "limits"),
        ("--max-failures", "20", "limits"),
        // The first wrong guess would lock its recipient.
        ("--max-failures", "25", "limits"),
        ("--window", &nine, "limits.windows"),
        ("--max-failures", "0", "limits.max_failures"),
        ("--max-failures", "101", "limits.max_failures"),
        ("--per-second", "-1", "per_second"),
        ("--per-second", "0", "limits.per_second"),
        ("--per-day", "many", "per_day"),
        ("--lock-seconds", "0", "limits.lock_seconds"),
        ("--lock-seconds", "2592001", "limits.lock_seconds"),
        ("--lock-seconds", "never", "lock_seconds"),
        ("--balance", "1.5", "balance"),
        ("--balance", "+100", "balance"),
        ("--per-day", "+100", "per_day"),
    ] {
        let option = format!("{option}={value}");
        let mut set = vec!["client", "set", "shop"];
        // A value that has spaces of its own is the name alone.
        match option.strip_prefix("--window") {
            Some(_) => set.extend(option.split(' ')),
            None => set.push(&option),
        }
        let (code, error, fields) = laptop.refused(&set).await;
        assert_eq!(
            (code, fields),
            (2, vec![field.to_owned()]),
            "{option}: {error}"
        );
    }
    assert_eq!(laptop.stored("shop").await, before);
}

#[tokio::test]
async fn what_countries_leave_out_is_told() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let set = async |more: &[&str]| {
        let arguments = [&["client", "set", "shop"], more].concat();
        laptop.run(&arguments).await.err
    };
    let said = set(&["--countries", "GB,JE"]).await;
    assert_eq!(
        said,
        "warning: countries: GB leaves out GG, IM, which have its calling code too\n"
    );
    assert_eq!(set(&["--countries", "GB,GG,IM,JE"]).await, "");
    assert_eq!(set(&["--max-price", "0.05"]).await, "");
    let said = set(&["--countries", "US", "--number-types", "mobile"]).await;
    assert!(said.contains("US leaves out 24 countries"), "{said}");
    assert!(said.contains("no number of US is of these types"), "{said}");
    let (_, error, _) = laptop
        .refused(&["client", "set", "shop", "--countries", "UK"])
        .await;
    assert!(error.to_string().contains("did you mean GB?"), "{error}");
}

#[tokio::test]
async fn the_types_of_numbers_are_set_by_options_and_by_a_file() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &[]).await;
    let usual = json!(["mobile", "fixed_line_or_mobile"]);
    assert_eq!(added["number_types"], usual);
    let set = ["client", "set", "shop", "--number-types", "voip,mobile"];
    let change = json!([{ "field": "number_types", "old": usual, "new": ["mobile", "voip"] }]);
    assert_eq!(laptop.json(&set).await["changes"], change);
    let file = file_of_shop("number_types = ['personal', 'fixed_line']");
    laptop.applied(&file, &[]).await;
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["number_types"], json!(["fixed_line", "personal"]));
}

#[tokio::test]
async fn a_sender_that_sns_refuses_is_told_wherever_it_is_set() {
    let laptop = Laptop::start().await;
    let (key, _) = laptop.shop(&[]).await;
    for (name, from) in [("Id", "AB"), ("Code", "123"), ("Number", "123456789012345")] {
        let add = [
            "template", "add", "shop", name, "--from", from, "--text", "${code}",
        ];
        let added = laptop.json(&add).await;
        let warning = format!("from {from}: SNS refuses every message from it");
        let warns = |said: &Value| said["warnings"][0].as_str().unwrap().contains(&warning);
        assert!(warns(&added), "{added}");
        assert!(
            warns(&laptop.json(&["preview", "shop", name]).await),
            "{name}"
        );
        let file = file_of_shop(&format!(
            "templates = [{{ name = '{name}', from = '{from}', text = '${{code}}!' }}]"
        ));
        assert!(warns(&laptop.applied(&file, &[]).await), "{name}");
        let id = added["template"]["id"].as_str().unwrap();
        assert_eq!(laptop.ask_cold(&key, id).await, "GENERAL_ERROR", "{name}");
    }
}

#[tokio::test]
async fn a_line_break_of_windows_is_a_line_break() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let text = "Your code:\r\n${code}\r\n";
    let add = ["template", "add", "shop", "Typed", "--from", "Shop"];
    let typed = [&add[..], &["--text", text.trim_end()]].concat();
    assert_eq!(laptop.run(&typed).await.code, 0);
    let piped = [
        "template", "add", "shop", "Piped", "--from", "Shop", "--text", "-",
    ];
    assert_eq!(laptop.run_with(&piped, text).await.code, 0);
    let file = file_of_shop(
        "[[clients.shop.templates]]\nname = 'File'\nfrom = 'Shop'\ntext = \"\"\"Your code:\n${code}\"\"\"",
    );
    laptop.applied(&file.replace('\n', "\r\n"), &[]).await;
    let listed = laptop.json(&["template", "list", "shop"]).await;
    for template in listed["templates"].as_array().unwrap() {
        assert_eq!(template["text"], "Your code:\n${code}", "{template}");
    }
    let preview = nowhere(&["preview", "--json", "--text", text.trim_end()]).await;
    assert!(!preview.json()["text"].as_str().unwrap().contains('\r'));
}

#[tokio::test]
async fn all_that_is_not_valid_is_told_at_once() {
    let laptop = Laptop::start().await;
    let (code, _, fields) = laptop
        .refused(&[
            "client",
            "add",
            "new",
            "--countries",
            "XX",
            "--networks",
            "x",
            "--max-price",
            "x",
            "--window",
            "x",
            "--with-key",
            "--expires",
            "yesterday",
        ])
        .await;
    let expected = ["window", "countries", "networks", "max_price", "expires"];
    assert_eq!(
        (code, fields),
        (2, expected.map(ToOwned::to_owned).to_vec())
    );
    let (code, _, fields) = laptop.refused(&["client", "add", "new"]).await;
    assert_eq!((code, fields), (2, vec!["countries".to_owned()]));
    assert_eq!(laptop.stored("new").await, "None");
    let ran = laptop
        .run(&["client", "add", "No Id", "--countries", "GB"])
        .await;
    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .starts_with("error: client: must be 1 to 32 lower-case letters")
    );
}

#[tokio::test]
async fn a_client_that_is_not_there_is_not_found() {
    let laptop = Laptop::start().await;
    for arguments in [
        &["client", "show", "nobody"] as &[&str],
        &["client", "set", "nobody", "--per-day", "5"],
        &["client", "disable", "nobody"],
        &["client", "enable", "nobody"],
        &["key", "add", "nobody"],
        &["key", "revoke", "nobody", "0123abcd"],
        &[
            "template", "add", "nobody", "Login", "--from", "Shop", "--text", "${code}",
        ],
        &["template", "list", "nobody"],
        &["preview", "nobody", "Login"],
        &["recipient", "show", "--client", "nobody", NUMBER],
        &["test-number", "add", "--client", "nobody", NUMBER],
        &["usage", "nobody"],
    ] {
        let (code, error, _) = laptop.refused(arguments).await;
        assert_eq!(code, 3, "{arguments:?}: {error}");
        assert_eq!(error["error"], "there is no client nobody");
    }
    assert_eq!(laptop.stored("nobody").await, "None");
}

#[tokio::test]
async fn a_client_is_switched_off_and_on() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let off = [
        "client", "disable", "shop", "--switch", "product", "--switch", "client",
    ];
    assert_eq!(
        laptop.json(&off).await["disabled"],
        json!(["client", "product"])
    );
    let (status, answer) = laptop.send(&key_of(&added), NUMBER, "x").await;
    assert_eq!(
        (status, &answer["error_message"]),
        (401, &json!("CLIENT_DISABLED"))
    );
    let on = laptop.run(&["client", "enable", "shop"]).await;
    assert_eq!(
        on.out,
        "the client shop is off (product) within 30 seconds\n"
    );
    assert_eq!(on.err, "warning: calls are still refused: off is product\n");
    let on = ["client", "enable", "shop", "--switch", "product"];
    assert_eq!(laptop.json(&on).await["disabled"], json!([]));
    let (code, _, fields) = laptop
        .refused(&["client", "disable", "shop", "--switch", "x"])
        .await;
    assert_eq!((code, fields), (2, vec!["switch".to_owned()]));
}

#[tokio::test]
async fn a_balance_is_used_up_topped_up_and_taken_away() {
    let laptop = Laptop::start().await;
    let added = laptop
        .add_client("shop", &["--balance", "1", "--with-key"])
        .await;
    let (key, login) = (
        key_of(&added),
        laptop.add_template("shop", "Login", "${code}").await,
    );
    assert_eq!(
        laptop.send(&key, NUMBER, &login).await.1["status"],
        "ACCEPTED"
    );
    let (_, refused) = laptop.send(&key, "+447400123457", &login).await;
    assert_eq!(refused["error_message"], "OUT_OF_BALANCE");
    let used = laptop.json(&["usage", "shop"]).await;
    assert_eq!(used["clients"][0]["balance"], 0);
    let today = &used["clients"][0]["days"][0];
    assert_eq!(
        (&today["requests"], &today["parts"]),
        (&json!(1), &json!(1))
    );

    let set = laptop
        .json(&["client", "set", "shop", "--balance", "5"])
        .await;
    let change = json!([{ "field": "balance", "old": 0, "new": 5 }]);
    assert_eq!(set["changes"], change);
    assert_eq!(
        laptop.send(&key, "+447400123457", &login).await.1["status"],
        "ACCEPTED"
    );
    let set = laptop
        .json(&["client", "set", "shop", "--balance", "none"])
        .await;
    let change = json!([
        { "field": "prepaid", "old": true, "new": false },
        { "field": "balance", "old": 4, "new": null },
    ]);
    assert_eq!(set["changes"], change);
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(
        (&shown["prepaid"], &shown["balance"]),
        (&json!(false), &Value::Null)
    );
    let set = laptop
        .json(&["client", "set", "shop", "--balance", "3"])
        .await;
    let change = json!({ "field": "balance", "old": null, "new": 3 });
    assert_eq!(set["changes"][1], change, "the old one is gone");
}

/// The answers of warm and cold functions.
const BOTH_ACCEPT: [&str; 2] = ["ACCEPTED", "ACCEPTED"];

/// The client of [`Laptop::shop`] in a file, with this in it.
fn file_of_shop(settings: &str) -> String {
    format!("[clients.shop]\n{settings}\n")
}

#[tokio::test]
async fn a_balance_that_is_lifted_refuses_nobody() {
    let file = file_of_shop("prepaid = false");
    for (arguments, input) in [
        (
            &["client", "set", "shop", "--balance", "none"] as &[&str],
            "",
        ),
        (&["apply", "-"], &file),
    ] {
        let laptop = Laptop::start().await;
        let (key, login) = laptop.shop(&["--balance", "1"]).await;
        // From here on the function believes for 30 seconds that the client is prepaid.
        assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
        assert_eq!(laptop.ask_warm(&key, &login).await, "OUT_OF_BALANCE");
        let both = async || {
            [
                laptop.ask_warm(&key, &login).await,
                laptop.ask_cold(&key, &login).await,
            ]
        };
        // The answer is lost: the change is made, and the command not at its end.
        let between = async |write| {
            if write > 0 {
                assert_eq!(both().await, BOTH_ACCEPT, "{arguments:?}");
                return NetworkFault::Made;
            }
            NetworkFault::Lost
        };
        assert_eq!(laptop.run_between(arguments, input, between).await, 2);
        assert_eq!(both().await, BOTH_ACCEPT, "{arguments:?}");
        let shown = laptop.json(&["client", "show", "shop"]).await;
        assert_eq!(
            (&shown["prepaid"], &shown["balance"]),
            (&json!(false), &Value::Null)
        );
        let used = laptop.json(&["usage", "shop"]).await;
        assert_eq!(used["clients"][0]["balance"], Value::Null);
    }
}

#[tokio::test]
async fn a_balance_is_there_when_it_is_asked_for() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    let set = ["client", "set", "shop", "--balance", "5"];
    let between = async |_| {
        assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");
        NetworkFault::Made
    };
    assert_eq!(laptop.run_between(&set, "", between).await, 1);
    assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["balance"], 4);

    // A new client has it once it is there itself.
    let add = [
        "client",
        "add",
        "new",
        "--countries",
        "GB",
        "--balance",
        "5",
    ];
    let between = async |_| {
        assert_eq!(laptop.stored("new").await, "None");
        NetworkFault::Made
    };
    assert_eq!(laptop.run_between(&add, "", between).await, 1);
    let shown = laptop.json(&["client", "show", "new"]).await;
    assert_eq!(shown["balance"], 5);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_made_once_and_known() {
    let laptop = Laptop::start().await;
    let lost_once = async |write| {
        if write == 0 {
            NetworkFault::Lost
        } else {
            NetworkFault::Made
        }
    };
    for arguments in [
        &[
            "client",
            "add",
            "shop",
            "--countries",
            "GB",
            "--balance",
            "5",
            "--with-key",
        ] as &[&str],
        &["client", "top-up", "shop", "10"],
        &["key", "add", "shop"],
        &["client", "remove", "shop", "--yes"],
    ] {
        // That it succeeds, and shows a key it made, is checked at every run.
        assert_eq!(laptop.run_between(arguments, "", lost_once).await, 2);
        if arguments[0] == "client" && arguments[1] == "top-up" {
            let shown = laptop.json(&["client", "show", "shop"]).await;
            assert_eq!(shown["balance"], 15, "it is added once");
        }
    }
    let changes = laptop.json(&["audit", "shop"]).await["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 4, "{changes}");
}

#[tokio::test]
async fn two_operators_never_overwrite_each_other() {
    let laptop = Laptop::start().await;
    laptop.shop(&["--balance", "5"]).await;
    let template = ["template", "set", "shop", "Login", "--max-attempts", "4"];
    let file = file_of_shop("name = 'File'");
    for (nth, (arguments, input)) in [
        (
            &["client", "set", "shop", "--per-second", "7"] as &[&str],
            "",
        ),
        (&["client", "set", "shop", "--balance", "none"], ""),
        (&["client", "disable", "shop"], ""),
        (&["client", "remove", "shop", "--yes"], ""),
        (&["key", "add", "shop"], ""),
        (&template, ""),
        (&["template", "remove", "shop", "Login"], ""),
        (&["test-number", "add", "--client", "shop", NUMBER], ""),
        (&["apply", "-"], &file),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("Faster {nth}");
        laptop.overtaken(arguments, input, "shop", &name).await;
        let shown = laptop.json(&["client", "show", "shop"]).await;
        assert_eq!(shown["name"], name, "the faster one's");
        assert_eq!(shown["balance"], 5);
        assert_eq!(shown["disabled"], json!([]));
        assert_eq!(shown["limits"]["per_second"], Value::Null);
        assert_eq!(shown["templates"][0]["max_attempts"], 5);
        let count = |list: &Value| list.as_array().unwrap().len();
        assert_eq!(
            (count(&shown["keys"]), &shown["test_numbers"]),
            (1, &json!(0))
        );
    }
}

#[tokio::test]
async fn a_profile_that_no_operator_wrote_is_overwritten_by_one() {
    let laptop = Laptop::start().await;
    assert!(laptop.stored("demo").await.contains("version: None"));
    let set = ["client", "set", "demo", "--per-second", "7"];
    laptop.overtaken(&set, "", "demo", "Faster").await;
    let shown = laptop.json(&["client", "show", "demo"]).await;
    assert_eq!(
        (&shown["name"], &shown["limits"]["per_second"]),
        (&json!("Faster"), &Value::Null)
    );
}

#[tokio::test]
async fn a_top_up_adds_to_what_is_left() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&["--balance", "3"]).await;
    assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
    let topped = laptop.json(&["client", "top-up", "shop", "10"]).await;
    assert_eq!(
        (&topped["added"], &topped["balance"]),
        (&json!(10), &json!(12))
    );
    assert_eq!(
        laptop.json(&["client", "show", "shop"]).await["balance"],
        12
    );
    let (code, _, _) = laptop.refused(&["client", "top-up", "demo", "10"]).await;
    assert_eq!(code, 1, "it has no balance");
    for parts in ["+5", "1.5", "x"] {
        let ran = laptop.run(&["client", "top-up", "shop", parts]).await;
        assert_eq!(ran.code, 2, "{parts}");
    }
    laptop
        .json(&["client", "set", "shop", "--balance", "none"])
        .await;
    assert_eq!(
        laptop.refused(&["client", "top-up", "shop", "1"]).await.0,
        1
    );
}

#[tokio::test]
async fn a_client_is_removed_with_its_templates_and_not_with_live_keys() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    let (code, error, _) = laptop.refused(&["client", "remove", "shop"]).await;
    assert_eq!(code, 1);
    assert!(
        error["error"].as_str().unwrap().contains("live keys"),
        "{error}"
    );
    assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");

    let removed = laptop.json(&["client", "remove", "shop", "--yes"]).await;
    assert_eq!(removed["templates"], 1);
    assert_eq!(laptop.ask_cold(&key, &login).await, "UNAUTHORIZED");
    assert_eq!(laptop.refused(&["client", "remove", "shop"]).await.0, 3);
    // It leaves nothing to a client of the same name.
    laptop.add_client("shop", &[]).await;
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(
        (&shown["templates"], &shown["keys"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(laptop.run(&["client", "remove", "shop"]).await.code, 0);
}

#[tokio::test]
async fn a_client_of_many_templates_is_written_and_removed_in_parts() {
    let laptop = Laptop::start().await;
    let template = |n| {
        format!("[[clients.shop.templates]]\nname = 'T{n}'\nfrom = 'Shop'\ntext = '${{code}}'\n")
    };
    let templates: String = (0..120).map(template).collect();
    let file = file_of_shop(&format!("countries = ['GB']\n{templates}"));
    assert_eq!(laptop.applied(&file, &[]).await["summary"]["create"], 121);
    let removed = laptop.json(&["client", "remove", "shop"]).await;
    assert_eq!(removed["templates"], 120);
    let id = ClientId::parse("shop").unwrap();
    assert!(laptop.directory().query(&id).await.unwrap().is_none());
    laptop.add_client("shop", &[]).await;
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["templates"], json!([]));
}

#[tokio::test]
async fn every_change_leaves_a_record_of_who_and_what() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&["--balance", "5"]).await;
    laptop.send(&key, NUMBER, &login).await;
    let file = file_of_shop("max_price = '0.05'");
    laptop.applied(&file, &[]).await;
    for arguments in [
        &["client", "set", "shop", "--countries", "GB,IE"] as &[&str],
        &["client", "top-up", "shop", "7"],
        &["client", "disable", "shop"],
        &["client", "enable", "shop"],
        &["key", "add", "shop"],
        &["template", "set", "shop", "Login", "--ttl", "60"],
        &["test-number", "add", "--client", "shop", NUMBER],
        &["test-number", "remove", "--client", "shop", NUMBER],
        &["recipient", "unlock", "--client", "shop", NUMBER],
        &["template", "remove", "shop", "Login"],
        &["client", "remove", "shop", "--yes"],
    ] {
        assert_eq!(laptop.run(arguments).await.code, 0, "{arguments:?}");
    }
    // Neither what reads nor what changes nothing.
    laptop.json(&["client", "show", "demo"]).await;
    laptop.json(&["client", "enable", "demo"]).await;
    laptop
        .run(&["recipient", "unlock", "--client", "demo", NUMBER])
        .await;

    let shown = laptop.json(&["audit", "shop"]).await;
    let changes = shown["changes"].as_array().unwrap();
    let told: Vec<_> = changes
        .iter()
        .rev()
        .map(|c| c["what"].as_str().unwrap())
        .collect();
    let expected = [
        "client add",
        "template add",
        "apply",
        "client set",
        "client top-up",
        "client disable",
        "client enable",
        "key add",
        "template set",
        "test-number add",
        "test-number remove",
        "recipient unlock",
        "template remove",
        "client remove",
    ];
    assert_eq!(told, expected);
    for change in changes {
        assert_eq!(change["by"], "arn:aws:iam::000000000000:user/laptop");
        assert!(
            change["at"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .is_ok()
        );
        assert_ne!(change["details"], json!([]), "{change}");
    }
    let set = &changes[changes.len() - 4]["details"];
    assert_eq!(set, &json!(["countries: GB → GB, IE"]));
    let text = laptop.run(&["audit", "--limit", "2"]).await.out;
    let firsts: Vec<_> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(
        firsts.len() == 2 && firsts[0].contains("client remove"),
        "{text}"
    );
    assert_eq!(
        laptop.json(&["audit"]).await["changes"]
            .as_array()
            .unwrap()
            .len(),
        14
    );
}

#[tokio::test]
async fn a_client_that_a_file_makes_prepaid_has_nothing_to_send_from() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&["--balance", "5"]).await;
    laptop
        .json(&["client", "set", "shop", "--balance", "none"])
        .await;
    let applied = laptop.applied(&file_of_shop("prepaid = true"), &[]).await;
    let warning = applied["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("sends nothing without a balance"),
        "{warning}"
    );
    assert_eq!(laptop.ask_cold(&key, &login).await, "OUT_OF_BALANCE");
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["balance"], 0);
}

#[tokio::test]
async fn a_balance_is_set_while_calls_pay_from_it() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--balance", "5"]).await;
    let set = ["client", "set", "shop", "--balance", "7"];
    let faults = async |write| {
        if write < 5 {
            NetworkFault::Conflict
        } else {
            NetworkFault::Made
        }
    };
    assert_eq!(laptop.run_between(&set, "", faults).await, 6);
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["balance"], 7);
}

#[tokio::test]
async fn limits_and_templates_change_together_and_refuse_nobody_in_between() {
    let laptop = Laptop::start().await;
    let file = |sends, attempts| {
        file_of_shop(&format!(
            "[clients.shop.limits]\nwindows = [{{ sends = {sends}, seconds = 600 }}]\n\
             [[clients.shop.templates]]\nname = 'Login'\nfrom = 'Shop'\ntext = '${{code}}'\n\
             max_attempts = {attempts}"
        ))
    };
    let (key, login) = laptop.shop(&["--window", "19/600"]).await;
    // 99 open guesses are allowed; 19 codes of 10 guesses each would be 190.
    for (sends, attempts) in [(9, 10), (19, 5)] {
        let between = async |_| {
            assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");
            NetworkFault::Made
        };
        let file = file(sends, attempts);
        let apply = laptop.run_between(&["apply", "-"], &file, between);
        assert_eq!(apply.await, 2);
        assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");
    }
}

/// Waits until all of a test of one day of UTC happens on that day.
async fn within_a_day() {
    let millis = Clock::System.now().as_millis();
    let day = Duration::from_hours(24);
    let left = day.as_millis() - u128::try_from(millis).unwrap() % day.as_millis();
    if left < 90_000 {
        tokio::time::sleep(Duration::from_secs(91)).await;
    }
}

#[tokio::test]
async fn a_cap_of_the_day_counts_the_requests_made_before_it() {
    within_a_day().await;
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    for _ in 0..4 {
        assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
    }
    let per_day = async || {
        let id = ClientId::parse("shop").unwrap();
        let shop = laptop.directory().query(&id).await.unwrap().unwrap();
        shop.profile.limits.per_day
    };
    let set = ["client", "set", "shop", "--per-day", "5"];
    let fifth = async {
        while per_day().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The function does not know yet.
        laptop.ask_warm(&key, &login).await
    };
    let (set, fifth) = tokio::join!(laptop.json(&set), fifth);
    assert_eq!(fifth, "ACCEPTED");
    let change = json!([{ "field": "limits.per_day", "old": null, "new": 5 }]);
    assert_eq!(set["changes"], change);
    let (warm, cold) = (
        laptop.ask_warm(&key, &login).await,
        laptop.ask_cold(&key, &login).await,
    );
    assert_eq!([warm, cold], ["TOO_MANY_REQUESTS", "TOO_MANY_REQUESTS"]);

    // Said again, it counts nothing twice.
    for most in ["5", "5", "6"] {
        laptop
            .json(&["client", "set", "shop", "--per-day", most])
            .await;
    }
    let (sixth, seventh) = (
        laptop.ask_cold(&key, &login).await,
        laptop.ask_cold(&key, &login).await,
    );
    assert_eq!(
        [sixth.as_str(), &seventh],
        ["ACCEPTED", "TOO_MANY_REQUESTS"]
    );
}

#[tokio::test]
async fn the_same_command_counts_what_an_interrupted_one_did_not() {
    within_a_day().await;
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    for _ in 0..3 {
        assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
    }
    let file = file_of_shop("limits = { per_day = 3 }");
    let apply = laptop.command(laptop.services.addresses.dynamodb, &["apply", "-"]);
    let mut apply = { apply }.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = apply.stdin.take().unwrap();
    stdin.write_all(file.as_bytes()).await.unwrap();
    drop(stdin);
    let mut stderr = BufReader::new(apply.stderr.take().unwrap()).lines();
    let said = stderr.next_line().await.unwrap().unwrap();
    assert!(
        said.contains("waiting 55 seconds") && said.contains("shop"),
        "{said}"
    );
    let interrupt = ["-INT", &apply.id().unwrap().to_string()];
    assert!(
        Command::new("kill")
            .args(interrupt)
            .status()
            .await
            .unwrap()
            .success()
    );
    let said = stderr.next_line().await.unwrap().unwrap();
    assert!(
        said.starts_with("error: per_day of shop is set, but"),
        "{said}"
    );
    let output = apply.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));

    let again = laptop.applied(&file, &[]).await;
    assert_eq!(again["summary"]["unchanged"], 1);
    assert_eq!(laptop.ask_cold(&key, &login).await, "TOO_MANY_REQUESTS");
}

#[tokio::test]
async fn two_keys_live_and_a_third_must_wait() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--with-key"]).await;
    let second = laptop
        .json(&["key", "add", "shop", "--expires", "2099-01-31T00:00:00Z"])
        .await;
    assert_eq!(second["key"]["expires_at"], "2099-01-31T00:00:00Z");
    let before = laptop.stored("shop").await;
    let (code, error, _) = laptop.refused(&["key", "add", "shop"]).await;
    let id = second["key"]["id"].as_str().unwrap();
    assert_eq!(code, 1);
    assert!(error["error"].as_str().unwrap().contains(id), "{error}");
    assert_eq!(laptop.stored("shop").await, before);

    assert_eq!(
        laptop.json(&["key", "revoke", "shop", id]).await["revoked"],
        id
    );
    let third = laptop.json(&["key", "add", "shop"]).await;
    let shown = laptop.json(&["client", "show", "shop"]).await;
    let ids: Vec<_> = shown["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["id"])
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&&third["key"]["id"]) && !ids.contains(&&json!(id)));
}

#[tokio::test]
async fn a_revoked_key_opens_nothing() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let id = added["key"]["id"].as_str().unwrap();
    let revoked = laptop.run(&["key", "revoke", "shop", id]).await;
    assert!(
        revoked
            .err
            .starts_with("warning: the client has no live key left")
    );
    let (status, answer) = laptop.call(&key_of(&added), "request", &json!({})).await;
    assert_eq!(
        (status, &answer["error_message"]),
        (401, &json!("UNAUTHORIZED"))
    );
    let (code, _, _) = laptop.refused(&["key", "revoke", "shop", id]).await;
    assert_eq!(code, 3);
}

#[tokio::test]
async fn a_key_in_the_place_of_its_id_is_not_repeated() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let key = key_of(&added);
    for arguments in [
        ["key", "revoke", "shop", &key],
        ["key", "revoke", &key, "0123abcd"],
    ] {
        // That no key is in what it says is checked at every run.
        assert_eq!(laptop.refused(&arguments).await.0, 2);
    }
    for id in ["", "0123abc", "0123abcg"] {
        let (code, _, fields) = laptop.refused(&["key", "revoke", "shop", id]).await;
        assert_eq!((code, fields), (2, vec!["key_id".to_owned()]), "{id}");
    }
}

#[tokio::test]
async fn an_expired_key_makes_room() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--with-key"]).await;
    laptop.json(&["key", "add", "shop"]).await;
    let (directory, id) = (laptop.directory(), ClientId::parse("shop").unwrap());
    let mut profile = directory.query(&id).await.unwrap().unwrap().profile;
    profile.api_keys[0].expires_at = Some(1);
    directory.put_profile(&id, &profile).await.unwrap();
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["keys"][0]["live"], false);
    laptop.json(&["key", "add", "shop"]).await;
    let shown = laptop.json(&["client", "show", "shop"]).await;
    let live: Vec<_> = shown["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["live"])
        .collect();
    assert_eq!(live, [true, true]);
}

#[tokio::test]
async fn a_template_is_added_shown_changed_and_removed() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let text = "${code} pays ${amount}.";
    let id = laptop.add_template("shop", "Pay", text).await;
    let mut expected = json!({
        "id": id, "name": "Pay", "from": "Shop", "text": text, "ttl": 300, "code_length": 6,
        "max_attempts": 5, "warnings": [],
    });
    for named in [&id, "Pay"] {
        assert_eq!(
            laptop.json(&["template", "show", "shop", named]).await,
            expected
        );
    }
    let set = [
        "template",
        "set",
        "shop",
        "Pay",
        "--name",
        "Order",
        "--ttl",
        "60",
        "--code-length",
        "8",
        "--max-attempts",
        "3",
        "--from",
        "12345",
    ];
    let changed = laptop.json(&set).await;
    assert_eq!(changed["changes"].as_array().unwrap().len(), 5);
    for (field, value) in [
        ("name", json!("Order")),
        ("ttl", json!(60)),
        ("code_length", json!(8)),
        ("max_attempts", json!(3)),
        ("from", json!("12345")),
    ] {
        expected[field] = value;
    }
    assert_eq!(
        laptop.json(&["template", "show", "shop", "Order"]).await,
        expected
    );
    let set = ["template", "set", "shop", "Order", "--ttl", "60"];
    assert_eq!(laptop.json(&set).await["changes"], json!([]));

    let listed = laptop.json(&["template", "list", "shop"]).await;
    assert_eq!(listed["templates"][0]["id"], id);
    let removed = laptop.json(&["template", "remove", "shop", "Order"]).await;
    assert_eq!(removed["removed"], id);
    for verb in ["show", "set", "remove"] {
        let (code, _, _) = laptop.refused(&["template", verb, "shop", "Order"]).await;
        assert_eq!(code, 3, "{verb}");
    }
}

#[tokio::test]
async fn a_template_has_one_name_and_one_id() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let id = laptop.add_template("shop", "Login", "${code}").await;
    let add = ["template", "add", "shop"];
    let rest = ["--from", "Shop", "--text", "${code}"];
    let own = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01";
    for (name, more) in [("Login", &["--id", own]), ("Other", &["--id", &id])] {
        let arguments = [&add, &[name] as &[&str], &rest, more].concat();
        assert_eq!(laptop.refused(&arguments).await.0, 1, "{name}");
    }
    let added = laptop
        .json(&[&add, &["Other"] as &[&str], &rest, &["--id", own]].concat())
        .await;
    assert_eq!(added["template"]["id"], own);
    let rename = ["template", "set", "shop", "Other", "--name", "Login"];
    assert_eq!(laptop.refused(&rename).await.0, 1);
    let arguments = [&add, &["Third"] as &[&str], &rest, &["--id", "x"]].concat();
    let (code, _, fields) = laptop.refused(&arguments).await;
    assert_eq!((code, fields), (2, vec!["id".to_owned()]));
}

#[tokio::test]
async fn every_field_of_a_template_that_is_not_valid_is_named() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--window", "10/600"]).await;
    laptop.add_template("shop", "Login", "${code}").await;
    let before = laptop.stored("shop").await;
    let (long, control) = (format!("${{code}}{}", "ж".repeat(700)), "${code}\u{1b}[31m");
    for (option, value, field) in [
        ("--name", "", "name"),
        ("--from", "A", "from"),
        ("--from", "TooLongSender", "from"),
        ("--from", "Zwölf", "from"),
        ("--from", "12", "from"),
        ("--from", "+12345", "from"),
        ("--text", "", "text"),
        ("--text", "your code", "text"),
        ("--text", "${code} ${code}", "text"),
        ("--text", "${code} ${a b}", "text"),
        ("--text", "${code} ${a", "text"),
        ("--text", control, "text"),
        ("--text", &long, "text"),
        ("--text", "Code:\n@shop.example ${code}", "text"),
        ("--text", "@shop.example #${code}\nBye", "text"),
        ("--ttl", "29", "ttl"),
        ("--ttl", "601", "ttl"),
        ("--code-length", "3", "code_length"),
        ("--code-length", "11", "code_length"),
        ("--max-attempts", "0", "max_attempts"),
        ("--max-attempts", "11", "max_attempts"),
    ] {
        let option = format!("{option}={value}");
        let (code, error, fields) = laptop
            .refused(&["template", "set", "shop", "Login", &option])
            .await;
        let named = fields.first().map(String::as_str);
        assert_eq!((code, named), (2, Some(field)), "{option}: {error}");
    }
    let all = [
        "template",
        "add",
        "shop",
        "New",
        "--from",
        "!",
        "--text",
        "x",
        "--ttl",
        "1",
        "--code-length",
        "1",
        "--max-attempts",
        "0",
    ];
    let (_, _, fields) = laptop.refused(&all).await;
    assert_eq!(
        fields,
        ["from", "text", "ttl", "code_length", "max_attempts"]
    );
    let (code, _, fields) = laptop.refused(&["template", "add", "shop", "New"]).await;
    assert_eq!(
        (code, fields),
        (2, vec!["from".to_owned(), "text".to_owned()])
    );
    assert_eq!(laptop.stored("shop").await, before);
}

#[tokio::test]
async fn guesses_must_fit_into_the_limits() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--window", "15/600"]).await;
    let add = [
        "template", "add", "shop", "Login", "--from", "Shop", "--text", "${code}",
    ];
    let (code, _, fields) = laptop
        .refused(&[&add[..], &["--max-attempts", "10"]].concat())
        .await;
    assert_eq!((code, fields), (2, vec!["limits".to_owned()]));
    laptop.json(&add).await;
}

#[tokio::test]
async fn a_template_that_costs_more_than_it_need_is_added_with_a_warning() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let add = async |name: &str, text: &str| {
        let arguments = [
            "template",
            "add",
            "shop",
            name,
            "--from",
            "Shop",
            "--code-length",
            "4",
            "--text",
            "-",
        ];
        let ran = laptop.run_with(&arguments, text).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err
    };
    let said = add("Quote", "${code} – don’t share").await;
    assert!(
        said.contains("U+2019") && said.contains("U+2013") && said.contains("UCS-2"),
        "{said}"
    );
    assert!(said.contains("code_length 4: NIST"), "{said}");
    let said = add("Long", &format!("${{code}} {}\n", "a".repeat(160))).await;
    assert!(said.contains("each SMS is billed as 2 parts"), "{said}");
    let said = add("Web", "Your code:\n@shop.example #${code}\n").await;
    assert!(!said.contains("UCS-2"), "{said}");
    let shown = laptop.json(&["template", "list", "shop"]).await;
    assert_eq!(
        shown["templates"][2]["text"],
        "Your code:\n@shop.example #${code}"
    );
}

#[tokio::test]
async fn a_preview_shows_the_text_and_what_it_costs() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    laptop
        .add_template("shop", "Pay", "${code} pays ${amount}")
        .await;
    let preview = [
        "preview",
        "shop",
        "Pay",
        "--param",
        "amount=€ 5",
        "--code-length",
        "8",
    ];
    let shown = laptop.json(&preview).await;
    let text = shown["text"].as_str().unwrap();
    let (code, rest) = text.split_once(' ').unwrap();
    assert_eq!((code.len(), rest), (8, "pays € 5"));
    assert!(code.bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(
        (&shown["encoding"], &shown["parts"]),
        (&json!("GSM-7"), &json!(1))
    );

    let (code, _, fields) = laptop.refused(&["preview", "shop", "Pay"]).await;
    assert_eq!((code, fields), (2, vec!["parameters.amount".to_owned()]));
    let unknown = [
        "preview", "shop", "Pay", "--param", "amount=1", "--param", "x=1",
    ];
    let said = laptop.run(&unknown).await.err;
    assert_eq!(said, "warning: the text has no placeholder ${x}\n");
    assert_eq!(laptop.refused(&["preview", "shop", "Nothing"]).await.0, 3);
}

#[tokio::test]
async fn a_text_is_previewed_without_any_place() {
    let preview = async |text: &str, more: &[&str]| {
        nowhere(&[&["preview", "--json", "--text", text], more].concat()).await
    };
    let text = format!("${{code}} don’t{}", "a".repeat(60));
    let shown = preview(&text, &[]).await.json();
    assert_eq!(
        (&shown["encoding"], &shown["parts"]),
        (&json!("UCS-2"), &json!(2))
    );
    assert_eq!(
        (&shown["not_gsm7"], &shown["parts_without"]),
        (&json!(["’"]), &json!(1))
    );
    assert_eq!(
        shown["warnings"][0],
        "’ (U+2019, write ') is not in GSM-7, so the SMS goes as UCS-2 in 2 parts; without, as \
         GSM-7 in 1 part"
    );
    for (text, more, field) in [
        ("no code", &[] as &[&str], "text"),
        ("${code} ${a}", &["--param", "b=1"], "parameters.a"),
        ("${code} ${a}", &["--param", "a=\u{7}"], "parameters.a"),
        (
            "${code} ${a}",
            &["--param", "a=1", "--param", "a=2"],
            "parameters.a",
        ),
        ("${code}", &["--param", "a"], "param"),
        ("${code}", &["--code-length", "11"], "code_length"),
    ] {
        let ran = preview(text, more).await;
        assert_eq!(
            (ran.code, ran.error().1),
            (2, vec![field.to_owned()]),
            "{text} {more:?}"
        );
    }
    let long = format!("a={}", "b".repeat(1_600));
    let ran = preview("${code} ${a}", &["--param", &long]).await;
    assert_eq!((ran.code, ran.error().1), (2, vec!["text".to_owned()]));
    // A value is not a template: it is put in as it is.
    let shown = preview("${code} ${a}", &["--param", "a=${code}"])
        .await
        .json();
    assert!(shown["text"].as_str().unwrap().ends_with(" ${code}"));
}

#[tokio::test]
async fn a_recipient_is_shown_and_unlocked() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let (key, login) = (
        key_of(&added),
        laptop.add_template("shop", "Login", "${code}").await,
    );
    let show = ["recipient", "show", "--client", "shop", NUMBER];
    let fresh = laptop.json(&show).await;
    assert_eq!(
        (&fresh["next_send_at"], &fresh["sends"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(
        (&fresh["number"], &fresh["country"]),
        (&json!("+44…56"), &json!("GB"))
    );

    assert_eq!(
        laptop.send(&key, NUMBER, &login).await.1["status"],
        "ACCEPTED"
    );
    assert_eq!(laptop.send(&key, NUMBER, &login).await.0, 429);
    // Every spelling is the same recipient, also one in several words.
    for words in [&["0044", "7400", "123456"] as &[&str], &["447400123456"]] {
        let shown = laptop
            .json(&[&["recipient", "show", "--client", "shop"], words].concat())
            .await;
        assert_eq!(shown["sends"].as_array().unwrap().len(), 1);
        let sent_at: jiff::Timestamp = shown["sends"][0].as_str().unwrap().parse().unwrap();
        let next: jiff::Timestamp = shown["next_send_at"].as_str().unwrap().parse().unwrap();
        let wait = next.as_second() - sent_at.as_second();
        assert!((30..=31).contains(&wait), "{wait}");
        assert_eq!(shown["locked"], false);
        let first = json!({ "sends": 1, "seconds": 30, "used": 1 });
        assert_eq!(shown["windows"][0], first);
    }
    let arguments = ["recipient", "unlock", "--client", "shop", "--json", "-"];
    let unlocked = laptop
        .run_with(&arguments, &format!("{NUMBER}\n"))
        .await
        .json();
    assert_eq!(unlocked["forgotten"], json!({ "failures": 0, "sends": 1 }));
    assert_eq!(laptop.json(&show).await["next_send_at"], Value::Null);
    assert_eq!(
        laptop.send(&key, NUMBER, &login).await.1["status"],
        "ACCEPTED"
    );
}

#[tokio::test]
async fn a_recipient_that_failed_too_often_is_locked_until_unlocked() {
    let laptop = Laptop::start().await;
    let limits = [
        "--with-key",
        "--window",
        "2/1",
        "--window",
        "3/600",
        "--max-failures",
        "16",
    ];
    let added = laptop.add_client("shop", &limits).await;
    let (key, login) = (
        key_of(&added),
        laptop.add_template("shop", "Login", "${code}").await,
    );
    let (_, accepted) = laptop.send(&key, NUMBER, &login).await;
    for wrong in ["0000", "0001"] {
        let guess = json!({ "code": wrong, "request_id": accepted["request_id"] });
        let (_, answer) = laptop.call(&key, "validate", &guess).await;
        assert_eq!(answer["status"], "not_matched");
    }
    let show = ["recipient", "show", "--client", "shop", NUMBER];
    let shown = laptop.json(&show).await;
    assert_eq!(
        (&shown["failures"], &shown["failures_admitted"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(shown["locked"], true);
    assert!(laptop.run(&show).await.out.contains("(locked by failures)"));
    let unlock = ["recipient", "unlock", "--client", "shop", NUMBER];
    let said = laptop.run(&unlock).await.out;
    assert_eq!(
        said,
        "unlocked +44…56 at the client shop: failures forgotten: 2, sends forgotten: 1\n"
    );
    assert_eq!(laptop.json(&show).await["locked"], false);
    let said = laptop.run(&unlock).await.out;
    assert_eq!(said, "nothing is remembered of +44…56 at the client shop\n");
}

#[tokio::test]
async fn a_number_that_is_none_is_not_repeated() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    for verb in [
        ["recipient", "show"],
        ["recipient", "unlock"],
        ["test-number", "add"],
    ] {
        // Too long by two digits; that it is not repeated is checked at every run.
        let number = [NUMBER, "99"].concat();
        let arguments = [&verb[..], &["--client", "shop", &number]].concat();
        let (code, _, fields) = laptop.refused(&arguments).await;
        assert_eq!((code, fields), (2, vec!["number".to_owned()]), "{verb:?}");
    }
    let abroad = ["recipient", "show", "--client", "shop", "+33612345678"];
    let said = laptop.run(&abroad).await.err;
    assert!(said.contains("may not send to FR"), "{said}");
}

#[tokio::test]
async fn a_test_number_gets_its_code_and_no_message() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let (key, login) = (
        key_of(&added),
        laptop.add_template("shop", "Login", "${code}").await,
    );
    let run = async |verb: &str| {
        let arguments = ["test-number", verb, "--client", "shop", "--json", NUMBER];
        laptop.run(&arguments).await
    };
    let code = run("add").await.json()["code"].as_str().unwrap().to_owned();
    assert_eq!(code.len(), 10);
    assert_eq!(
        run("add").await.json()["code"],
        code,
        "adding it twice changes nothing"
    );
    let count = ["test-number", "count", "--client", "shop"];
    assert_eq!(laptop.json(&count).await["test_numbers"], 1);

    let (_, accepted) = laptop.send(&key, NUMBER, &login).await;
    assert_eq!(accepted["status"], "ACCEPTED");
    let guess = json!({ "code": &code[..6], "request_id": accepted["request_id"] });
    assert_eq!(
        laptop.call(&key, "validate", &guess).await.1["status"],
        "success"
    );
    assert_eq!(laptop.inbox().await, Vec::<Value>::new());
    let show = ["recipient", "show", "--client", "shop", NUMBER];
    assert_eq!(laptop.json(&show).await["test_number"], true);

    assert_eq!(run("remove").await.code, 0);
    assert_eq!(run("remove").await.code, 3);
    assert_eq!(laptop.json(&count).await["test_numbers"], 0);
}

#[tokio::test]
async fn usage_is_shown_by_client_and_day() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let long = format!("${{code}} {}", "a".repeat(160));
    let login = laptop
        .add_template_with_warnings("shop", "Long", &long)
        .await;
    for number in [NUMBER, "+447400123457"] {
        laptop.send(&key_of(&added), number, &login).await;
    }
    let usage = laptop.json(&["usage"]).await;
    let clients: Vec<_> = usage["clients"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&clients[0]["client"], &clients[0]["days"]),
        (&json!("demo"), &json!([]))
    );
    assert_eq!(
        (&clients[1]["client"], &clients[1]["balance"]),
        (&json!("shop"), &Value::Null)
    );
    let today = &clients[1]["days"][0];
    assert_eq!(
        (&today["requests"], &today["parts"]),
        (&json!(2), &json!(4))
    );
    let table = laptop.run(&["usage", "shop"]).await.out;
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["shop", "none", today["day"].as_str().unwrap(), "2", "4"]
    );
    assert_eq!(usage["stack"]["days"], json!([]), "it has no cap");
}

#[tokio::test]
async fn the_stack_is_counted_while_it_has_a_cap() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    let long = format!("${{code}} {}", "a".repeat(160));
    let long = laptop
        .add_template_with_warnings("shop", "Long", &long)
        .await;
    let capped = laptop.cold(Some(5)).await;
    for said in ["ACCEPTED", "ACCEPTED", "TOO_MANY_REQUESTS"] {
        assert_eq!(laptop.ask(capped, &key, &long).await, said);
    }
    assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
    let usage = laptop.json(&["usage"]).await;
    let counts = |day: &Value| [day["requests"].clone(), day["parts"].clone()];
    assert_eq!(counts(&usage["stack"]["days"][0]), [2, 4]);
    assert_eq!(counts(&usage["clients"][1]["days"][0]), [3, 5]);
    let table = laptop.run(&["usage"]).await.out;
    let row: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
    let today = usage["stack"]["days"][0]["day"].as_str().unwrap();
    assert_eq!(row, ["(stack)", today, "2", "4"]);
}

/// A file of two clients; `demo` is there already.
const FILE: &str = r#"
[clients.demo]
name = "Demo shop"

[clients.shop]
name = "The Shop"
countries = ["GB", "IE"]
networks = ["203.0.113.0/24"]
max_price = "0.05"
prepaid = true

[clients.shop.limits]
windows = [{ sends = 1, seconds = 30 }, { sends = 5, seconds = 600 }]
per_second = 50
per_day = "none"

[[clients.shop.templates]]
name = "Login"
from = "Shop"
text = "${code} is your Shop code."

[[clients.shop.templates]]
id = "0b9c1a36-52a2-4a0e-93b5-6d1b1e1f3c55"
name = "Pay"
from = "Shop"
text = "${code} pays ${amount}."
ttl = 120
"#;

impl Laptop {
    async fn apply(&self, file: &str, options: &[&str]) -> Ran {
        let arguments = [&["apply", "-", "--json"], options].concat();
        self.run_with(&arguments, file).await
    }

    async fn applied(&self, file: &str, options: &[&str]) -> Value {
        let ran = self.apply(file, options).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.json()
    }

    /// Adds a template of which something is to be said.
    async fn add_template_with_warnings(&self, client: &str, name: &str, text: &str) -> String {
        let arguments = [
            "template", "add", client, name, "--from", "Shop", "--text", text,
        ];
        let added = self.json(&arguments).await;
        assert_ne!(added["warnings"], json!([]));
        added["template"]["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_file_is_applied_once() {
    let laptop = Laptop::start().await;
    let plan = laptop.applied(FILE, &["--dry-run"]).await;
    let counts = json!({ "create": 3, "change": 1, "remove": 0, "unchanged": 0 });
    assert_eq!(
        (&plan["dry_run"], &plan["summary"]),
        (&json!(true), &counts)
    );
    assert_eq!(
        laptop.stored("shop").await,
        "None",
        "a dry run writes nothing"
    );
    let demo = laptop.json(&["client", "show", "demo"]).await;
    assert_eq!(demo["name"], "Demo");

    let applied = laptop.applied(FILE, &[]).await;
    assert_eq!(applied["summary"], counts);
    assert_eq!(applied["clients"], plan["clients"]);
    let change = json!([{ "field": "name", "old": "Demo", "new": "Demo shop" }]);
    assert_eq!(applied["clients"][0]["changes"], change);
    let mut expected = demo;
    expected["name"] = json!("Demo shop");
    assert_eq!(
        laptop.json(&["client", "show", "demo"]).await,
        expected,
        "the rest stays"
    );
    let shop = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(
        (&shop["prepaid"], &shop["limits"]["per_second"]),
        (&json!(true), &json!(50))
    );
    assert_eq!(shop["limits"]["max_failures"], 100, "the default");
    assert_eq!(shop["templates"][0]["name"], "Login");
    assert_eq!(
        shop["templates"][1]["id"],
        "0b9c1a36-52a2-4a0e-93b5-6d1b1e1f3c55"
    );

    let before = (laptop.stored("demo").await, laptop.stored("shop").await);
    let again = laptop.applied(FILE, &[]).await;
    let counts = json!({ "create": 0, "change": 0, "remove": 0, "unchanged": 4 });
    assert_eq!(
        (&again["summary"], &again["warnings"]),
        (&counts, &json!([]))
    );
    assert_eq!(
        before,
        (laptop.stored("demo").await, laptop.stored("shop").await)
    );
    let said = laptop.run_with(&["apply", "-"], FILE).await.out;
    assert_eq!(said, "0 created, 0 changed, 0 removed, 4 unchanged\n");
}

#[tokio::test]
async fn a_file_changes_what_it_says_and_never_keys_balances_or_test_numbers() {
    let laptop = Laptop::start().await;
    laptop.applied(FILE, &[]).await;
    laptop.json(&["key", "add", "shop"]).await;
    laptop
        .json(&["client", "set", "shop", "--balance", "7"])
        .await;
    laptop.json(&["client", "disable", "shop"]).await;
    laptop
        .run(&["test-number", "add", "--client", "shop", NUMBER])
        .await;
    let before = laptop.json(&["client", "show", "shop"]).await;

    let file = FILE
        .replace("per_second = 50", "per_second = 60")
        .replace("name = \"Pay\"", "name = \"Order\"")
        .replace("is your Shop code", "opens the shop");
    let ran = laptop.run_with(&["apply", "-"], &file).await;
    let login = before["templates"][0]["id"].as_str().unwrap();
    assert_eq!(
        ran.out,
        format!(
            "client shop: change\n  limits.per_second: 50 → 60\n  template Login ({login}): change\n    \
             text: ${{code}} is your Shop code. → ${{code}} opens the shop.\n  template Order \
             (0b9c1a36-52a2-4a0e-93b5-6d1b1e1f3c55): change\n    name: Pay → Order\n0 created, 3 changed, \
             0 removed, 1 unchanged\n"
        )
    );
    let mut expected = before;
    expected["limits"]["per_second"] = json!(60);
    expected["templates"][0]["text"] = json!("${code} opens the shop.");
    expected["templates"][1]["name"] = json!("Order");
    assert_eq!(laptop.json(&["client", "show", "shop"]).await, expected);
}

#[tokio::test]
async fn a_file_removes_templates_only_when_told_to() {
    let laptop = Laptop::start().await;
    laptop.applied(FILE, &[]).await;
    laptop.add_template("shop", "Extra", "${code}").await;
    assert_eq!(laptop.applied(FILE, &[]).await["summary"]["remove"], 0);
    let (file, _) = FILE.split_once("[clients.shop]").unwrap();
    let pruned = laptop
        .applied(file, &["--prune-templates", "--dry-run"])
        .await;
    assert_eq!(
        pruned["summary"]["remove"], 2,
        "those of the demo client, and of no other"
    );
    let pruned = laptop.applied(FILE, &["--prune-templates"]).await;
    assert_eq!(pruned["summary"]["remove"], 3);
    let shown = laptop.json(&["template", "list", "shop"]).await;
    let names: Vec<_> = shown["templates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["name"])
        .collect();
    assert_eq!(names, ["Login", "Pay"]);
}

#[tokio::test]
async fn a_template_of_the_command_line_is_the_one_of_the_file() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let own = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01";
    let add = [
        "template", "add", "shop", "Login", "--from", "Shop", "--text", "${code}",
    ];
    laptop.json(&[&add[..], &["--id", own]].concat()).await;
    let applied = laptop.applied(FILE, &[]).await;
    let login = &applied["clients"][1]["templates"][0];
    assert_eq!(
        (&login["id"], &login["action"]),
        (&json!(own), &json!("change"))
    );
    // Removed and made again, it has the id that its name gives it, wherever.
    laptop.json(&["template", "remove", "shop", "Login"]).await;
    let by_hand = laptop.json(&add).await;
    laptop.json(&["template", "remove", "shop", "Login"]).await;
    let applied = laptop.applied(FILE, &[]).await;
    let login = &applied["clients"][1]["templates"][0];
    assert_eq!(
        (&login["id"], &login["action"]),
        (&by_hand["template"]["id"], &json!("create"))
    );
}

#[tokio::test]
async fn every_fault_of_a_file_is_told_with_its_path_and_nothing_is_written() {
    let laptop = Laptop::start().await;
    let before = laptop.stored("demo").await;
    let file = r#"
colour = "red"

[clients."Not An Id"]
countries = "*"

[clients.demo]
name = "Changed"
keys = ["no"]
countries = ["GB", "UK"]
networks = ["10.0.0.1/8"]
max_price = 0.05
prepaid = "yes"
disabled = ["everything"]

[clients.demo.limits]
windows = [{ sends = 1, seconds = 30 }, { sends = "5" }]
max_failures = 70000
per_second = "many"
colour = 1

[[clients.demo.templates]]
name = "A"
from = "!"
text = "no code"
ttl = 5
code_length = 3
max_attempts = 0
id = "x"

[[clients.demo.templates]]
text = "${code}"
length = 6

[clients.new]
name = "New"

[clients.twice]
countries = ["GB"]
templates = [
  { name = "A", from = "Shop", text = "${code}" },
  { name = "A", from = "Shop", text = "${code}" },
]
"#;
    let ran = laptop.apply(file, &[]).await;
    assert_eq!(ran.code, 2);
    let (_, mut fields) = ran.error();
    fields.sort_unstable();
    let mut expected = [
        "colour",
        "clients.\"Not An Id\"",
        "clients.demo.keys[0]",
        "clients.demo.countries",
        "clients.demo.networks",
        "clients.demo.max_price",
        "clients.demo.prepaid",
        "clients.demo.disabled",
        "clients.demo.limits.windows[1].sends",
        "clients.demo.limits.windows[1].seconds",
        "clients.demo.limits.max_failures",
        "clients.demo.limits.per_second",
        "clients.demo.limits.colour",
        "clients.demo.templates[0].from",
        "clients.demo.templates[0].text",
        "clients.demo.templates[0].ttl",
        "clients.demo.templates[0].code_length",
        "clients.demo.templates[0].max_attempts",
        "clients.demo.templates[0].id",
        "clients.demo.templates[1].name",
        "clients.demo.templates[1].from",
        "clients.demo.templates[1].length",
        "clients.new.countries",
        "clients.twice.templates[1]",
        "clients.twice.templates",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!(laptop.stored("demo").await, before);
    assert_eq!(laptop.stored("new").await, "None");

    for (file, field) in [
        ("[clients", "file"),
        ("", "clients"),
        ("clients = 1", "clients"),
        (
            "[clients.demo.limits]\nwindows = [{ sends = 39, seconds = 600 }]",
            "clients.demo.limits",
        ),
    ] {
        let (_, fields) = laptop.apply(file, &[]).await.error();
        assert!(fields.contains(&field.to_owned()), "{file}: {fields:?}");
    }
    let missing = laptop.run(&["apply", "/nowhere/clients.toml"]).await;
    assert_eq!(missing.code, 1);
    assert!(
        missing
            .err
            .starts_with("error: cannot read /nowhere/clients.toml\n  caused by: ")
    );
}

#[tokio::test]
async fn the_place_must_be_said_once_and_be_whole() {
    for (arguments, named) in [
        (&["client", "list"] as &[&str], "say where"),
        (
            &["client", "list", "--local", "--stack", "x"],
            "exclude each other",
        ),
        (
            &["client", "list", "--stack", "x", "--directory-table", "y"],
            "exclude each other",
        ),
        (
            &["client", "list", "--local", "--secret", "x"],
            "--secret is not for",
        ),
        (
            &["client", "list", "--local", "--region", "x"],
            "--region is not for",
        ),
        (
            &[
                "client",
                "list",
                "--stack",
                "x",
                "--verifications-table",
                "x",
            ],
            "--verifications-table is",
        ),
        (
            &["client", "list", "--stack", "x", "--sns-endpoint", "x"],
            "--sns-endpoint is not for",
        ),
        (
            &[
                "client",
                "list",
                "--local",
                "--dynamodb-endpoint",
                "https://127.0.0.1",
            ],
            "--dynamodb-endpoint: with --local",
        ),
        (
            &[
                "client",
                "list",
                "--local",
                "--dynamodb-endpoint",
                "http://dynamodb.eu-west-1.amazonaws.com",
            ],
            "--dynamodb-endpoint: with --local",
        ),
        (
            &[
                "client",
                "list",
                "--local",
                "--sns-endpoint",
                "http://sns.eu-west-1.api.aws.",
            ],
            "--sns-endpoint",
        ),
    ] {
        let ran = nowhere(arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.err.contains(named), "{arguments:?}: {}", ran.err);
    }
}

#[tokio::test]
async fn without_region_or_credentials_it_says_so() {
    let ran = nowhere(&["client", "list", "--stack", "x"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.starts_with("error: there is no AWS region"),
        "{}",
        ran.err
    );
    let ran = nowhere(&["client", "list", "--stack", "x", "--region", "eu-west-1"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.starts_with("error: there are no AWS credentials"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn nothing_listens_is_said_with_what_may_help() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ran = nowhere(&[
        "client",
        "list",
        "--local",
        "--dynamodb-endpoint",
        &endpoint,
    ])
    .await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("`cargo run` must be running"),
        "{}",
        ran.err
    );
}

/// The program with the credentials of an AWS account that is the laptop's services.
fn account(laptop: &Laptop) -> Command {
    let mut command = program();
    let Addresses { dynamodb, sns, .. } = laptop.services.addresses;
    command
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "x")
        .env("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{dynamodb}"))
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", format!("http://{sns}"))
        .env("AWS_ENDPOINT_URL_STS", format!("http://{sns}"))
        .env("AWS_ENDPOINT_URL_SNS", format!("http://{sns}"))
        .args(["--region", "eu-west-1", "--json"]);
    command
}

#[tokio::test]
async fn the_laptop_knows_nothing_of_a_persons_account() {
    let laptop = Laptop::start().await;
    let mut command = program();
    // Not even where it leads to: nothing listens there.
    for service in ["", "_DYNAMODB", "_SECRETS_MANAGER"] {
        command.env(format!("AWS_ENDPOINT_URL{service}"), "http://127.0.0.1:1");
    }
    command.env("AWS_PROFILE", "nobody").arg("--local");
    let Addresses { dynamodb, sns, .. } = laptop.services.addresses;
    command.args(["--dynamodb-endpoint", &format!("http://{dynamodb}")]);
    command.args(["--sns-endpoint", &format!("http://{sns}")]);
    command.args(["recipient", "show", "--client", "demo", NUMBER]);
    let ran = run(command, "").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[tokio::test]
async fn tables_are_found_by_their_names() {
    let laptop = Laptop::start().await;
    let tables = async |arguments: &[&str]| {
        let mut command = account(&laptop);
        command
            .args(["--directory-table", DIRECTORY_TABLE])
            .args(arguments);
        run(command, "").await
    };
    let listed = tables(&["client", "list"]).await;
    assert_eq!(listed.json()["clients"][0]["id"], "demo", "{}", listed.err);
    let shown = tables(&["client", "show", "demo"]).await.json();
    assert!(shown.get("balance").is_none(), "it is in the other table");
    let show = ["recipient", "show", "--client", "demo", NUMBER];
    for (arguments, named) in [
        (&["usage"] as &[&str], "--verifications-table"),
        (
            &["client", "set", "demo", "--balance", "5"],
            "--verifications-table",
        ),
        (&show, "--secret"),
    ] {
        let ran = tables(arguments).await;
        let (error, _) = ran.error();
        assert_eq!(ran.code, 2, "{arguments:?}: {error}");
        assert!(error["error"].as_str().unwrap().contains(named), "{error}");
    }
    let all = [
        "--verifications-table",
        VERIFICATIONS_TABLE,
        "--secret",
        SECRET,
    ];
    assert_eq!(tables(&[&all[..], &show].concat()).await.code, 0);

    let mut command = account(&laptop);
    command.args(["--directory-table", "Nothing", "client", "show", "demo"]);
    let ran = run(command, "").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("there is no such table"), "{}", ran.err);
}

/// SNS as it answers of an account's settings, and of the subscriptions to its topics by their ARNs.
async fn sns_of(
    is_sandboxed: bool,
    spend_limit: Option<&'static str>,
    subscriptions: &'static [&'static str],
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async move |body: Bytes| {
        let body = String::from_utf8(body.to_vec()).unwrap();
        let mut fields = body.split('&');
        let action = fields.find_map(|field| field.strip_prefix("Action="));
        let action = action.unwrap();
        let result = match action {
            "GetSMSSandboxAccountStatus" => format!("<IsInSandbox>{is_sandboxed}</IsInSandbox>"),
            "GetSMSAttributes" => {
                let entry = |limit| {
                    format!("<entry><key>MonthlySpendLimit</key><value>{limit}</value></entry>")
                };
                let entry = spend_limit.map(entry).unwrap_or_default();
                format!("<attributes>{entry}</attributes>")
            }
            "ListOriginationNumbers" => "<PhoneNumbers/>".to_owned(),
            "ListSubscriptionsByTopic" => {
                let member =
                    |arn| format!("<member><SubscriptionArn>{arn}</SubscriptionArn></member>");
                let members: String = subscriptions.iter().map(member).collect();
                format!("<Subscriptions>{members}</Subscriptions>")
            }
            _ => return (StatusCode::BAD_REQUEST, String::new()),
        };
        let answer = format!(
            "<{action}Response xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><{action}Result>{result}\
             </{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\
             </{action}Response>"
        );
        (StatusCode::OK, answer)
    };
    let app = Router::new().route("/", post(answer));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// CloudFormation with one stack of that name and one of another product.
async fn cloud_formation() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let describe = async |body: Bytes| {
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("Action=DescribeStacks"), "{body}");
        let output = |(key, value)| {
            format!(
                "<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            )
        };
        let outputs: String = if body.contains("StackName=ours") {
            let ours = [
                ("ApiUrl", "https://x"),
                ("DirectoryTable", DIRECTORY_TABLE),
                ("VerificationsTable", VERIFICATIONS_TABLE),
                ("SecretArn", SECRET),
                ("DefaultSenderId", "Stacked"),
                ("AlarmTopic", "arn:aws:sns:eu-west-1:000000000000:alarms"),
            ];
            ours.map(output).concat()
        } else if body.contains("StackName=other") {
            output(("Url", "https://x"))
        } else {
            let error = "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
                         <Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id x \
                         does not exist</Message></Error><RequestId>r</RequestId></ErrorResponse>";
            return (StatusCode::BAD_REQUEST, error.to_owned());
        };
        let answer = format!(
            "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
             <DescribeStacksResult><Stacks><member><StackName>x</StackName><CreationTime>\
             2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>\
             {outputs}</Outputs></member></Stacks></DescribeStacksResult><ResponseMetadata>\
             <RequestId>r</RequestId></ResponseMetadata></DescribeStacksResponse>"
        );
        (StatusCode::OK, answer)
    };
    let app = Router::new().route("/", post(describe));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

#[tokio::test]
async fn a_stack_tells_where_everything_is() {
    const PENDING: &[&str] = &["PendingConfirmation"];
    const CONFIRMED: &[&str] = &["PendingConfirmation", "arn:aws:sns:eu-west-1:0:alarms:1"];
    let laptop = Laptop::start().await;
    let address = cloud_formation().await;
    let stack = async |name: &str, arguments: &[&str]| {
        let mut command = account(&laptop);
        command.env(
            "AWS_ENDPOINT_URL_CLOUDFORMATION",
            format!("http://{address}"),
        );
        command.args(["--stack", name]).args(arguments);
        run(command, "").await
    };
    let shown = stack("ours", &["recipient", "show", "--client", "demo", NUMBER]).await;
    assert_eq!(shown.json()["client"], "demo", "{}", shown.err);
    let text = ["--text", "${code}"];
    for (name, from, expected) in [
        ("Plain", None, "Stacked"),
        ("Other", Some("Other"), "Other"),
    ] {
        let mut add = vec!["template", "add", "demo", name];
        add.extend(text);
        add.extend(from.iter().flat_map(|from| ["--from", *from]));
        let added = stack("ours", &add).await;
        assert_eq!(added.json()["template"]["from"], expected, "{}", added.err);
    }
    let nobody_confirmed = "nobody has confirmed the subscription to them";
    let subscriptions: [(&'static [&'static str], _); 3] = [
        (&[], ["warning", "nobody is subscribed to them"]),
        (PENDING, ["warning", nobody_confirmed]),
        (CONFIRMED, ["fine", "subscribed to: 1"]),
    ];
    for (subscriptions, [state, detail]) in subscriptions {
        let sns = sns_of(false, None, subscriptions).await;
        let mut command = account(&laptop);
        command
            .env(
                "AWS_ENDPOINT_URL_CLOUDFORMATION",
                format!("http://{address}"),
            )
            .env("AWS_ENDPOINT_URL_SNS", format!("http://{sns}"))
            .args(["--stack", "ours", "doctor"]);
        let doctor = run(command, "").await;
        assert_eq!(doctor.code, 0, "{}", doctor.err);
        let checks = doctor.json()["checks"].clone();
        let alarms = checks.as_array().unwrap().last().unwrap();
        let expected = json!({ "check": "alarms", "state": state, "detail": detail });
        assert_eq!(alarms, &expected);
    }
    let ran = stack("none", &["client", "list"]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("there is no stack none"), "{}", ran.err);
    let ran = stack("other", &["client", "list"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("has no output DirectoryTable"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn every_command_has_help_with_examples() {
    let groups: [(&str, &[&str]); 13] = [
        (
            "client",
            &[
                "add", "list", "show", "set", "top-up", "remove", "disable", "enable",
            ],
        ),
        ("audit", &[""]),
        ("export", &[""]),
        ("doctor", &[""]),
        ("send-test", &[""]),
        ("key", &["add", "revoke"]),
        ("template", &["add", "list", "show", "set", "remove"]),
        ("recipient", &["show", "unlock"]),
        ("test-number", &["add", "remove", "count"]),
        ("preview", &[""]),
        ("usage", &[""]),
        ("apply", &[""]),
        ("completions", &[""]),
    ];
    let help = nowhere(&["--help"]).await;
    assert_eq!(help.code, 0);
    assert!(
        help.out
            .contains("Exit codes: 0 done, 1 failed, 2 not valid")
    );
    for (group, verbs) in groups {
        assert!(help.out.contains(group));
        for verb in verbs {
            let words: Vec<_> = [group, verb, "--help"]
                .into_iter()
                .filter(|w| !w.is_empty())
                .collect();
            let help = nowhere(&words).await;
            assert_eq!(help.code, 0, "{words:?}");
            assert!(help.out.contains("Examples:\n  "), "{words:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_command_is_refused() {
    for arguments in [
        &[] as &[&str],
        &["client"],
        &["nothing"],
        &["client", "add"],
        &["usage", "--x"],
    ] {
        let ran = nowhere(arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = nowhere(&["completions", shell]).await;
        assert_eq!(script.code, 0);
        assert!(script.out.contains("test-number"), "{shell}");
    }
}

#[tokio::test]
async fn faults_of_a_file_have_their_lines_and_what_was_meant() {
    let laptop = Laptop::start().await;
    let file = "# A comment.\n[clients.demo]\nmax_prise = '1'\n\n[clients.demo.limits]\n\
                per_secnd = 5\nmax_failures = 0\n\n[[clients.demo.templates]]\nname = 'A'\n\
                from = '!'\ntext = 'no code'\n";
    let ran = laptop.apply(file, &[]).await;
    let (error, _) = ran.error();
    let faults = error["fields"].as_array().unwrap();
    let line = |field: &str| {
        let mut all = faults.iter();
        let fault = all.find(|fault| fault["field"] == field).unwrap();
        (
            fault["line"].as_u64().unwrap(),
            fault["error"].as_str().unwrap(),
        )
    };
    let unknown = "is not a known field; did you mean";
    assert_eq!(
        line("clients.demo.max_prise"),
        (3, &*format!("{unknown} max_price?"))
    );
    assert_eq!(
        line("clients.demo.limits.per_secnd"),
        (6, &*format!("{unknown} per_second?"))
    );
    assert_eq!(line("clients.demo.limits.max_failures").0, 7);
    assert_eq!(line("clients.demo.templates[0].from").0, 11);
    assert_eq!(line("clients.demo.templates[0].text").0, 12);
    let said = laptop.run_with(&["apply", "-"], file).await.err;
    assert!(said.contains("line 3: clients.demo.max_prise: "), "{said}");
    // What is not there has the line of what it should be in.
    let ran = laptop
        .apply(
            "\n[clients.demo]\nlimits = { windows = [{ sends = 1 }] }",
            &[],
        )
        .await;
    assert_eq!(ran.error().0["fields"][0]["line"], 3);
    let ran = laptop.apply("\n\n[clients", &[]).await;
    assert_eq!(ran.error().0["fields"][0]["line"], 3);
}

#[tokio::test]
async fn scripts_get_json_of_every_error() {
    for (arguments, field) in [
        (
            &["client", "set", "shop", "--nothing", "5", "--json"] as &[&str],
            Some("nothing"),
        ),
        (
            &["--json", "client", "set", "shop", "--max-failures", "x"],
            Some("max_failures"),
        ),
        (&["client", "add", "--json"], Some("client")),
        (&["client", "--json"], None),
        (&["nothing", "--json"], None),
    ] {
        let ran = nowhere(arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        let (error, fields) = ran.error();
        assert_eq!(
            fields.first().map(String::as_str),
            field,
            "{arguments:?}: {error}"
        );
        assert_ne!(error["error"], "", "{arguments:?}");
    }
}

#[tokio::test]
async fn people_get_plain_words() {
    // A service that answers nonsense, so that there is a cause and no code.
    let app = Router::new().fallback(async || (StatusCode::INTERNAL_SERVER_ERROR, ""));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let list = [
        "client",
        "show",
        "shop",
        "--local",
        "--dynamodb-endpoint",
        &endpoint,
    ];
    let said = nowhere(&list).await.err;
    for rust in ["None", "Some(", "\u{1b}", "WARN", "aws_"] {
        assert!(!said.contains(rust), "{rust}: {said}");
    }
    assert_eq!(said, "error: Query failed: Faulted\n");

    let laptop = Laptop::start().await;
    let said = laptop.run(&["client", "add", "shop"]).await.err;
    assert!(said.contains("countries: is required"), "{said}");
    let added = laptop
        .run(&["client", "add", "shop", "--countries", "DE"])
        .await
        .out;
    assert!(added.contains("next: twofa key add shop\n"), "{added}");
    assert!(
        added.contains("next: twofa template add shop Login "),
        "{added}"
    );
}

#[tokio::test]
async fn a_code_that_the_shell_took_away_is_explained() {
    let laptop = Laptop::start().await;
    let eaten = " is your code.";
    let add = [
        "template", "add", "demo", "New", "--from", "Shop", "--text", eaten,
    ];
    let set = ["template", "set", "demo", "Login", "--text", eaten];
    for arguments in [&add[..], &set, &["preview", "--text", eaten]] {
        let (code, error, fields) = laptop.refused(arguments).await;
        assert_eq!((code, &*fields), (2, &["text".to_owned()][..]));
        assert!(error.to_string().contains("single quotes"), "{error}");
    }
    let twice = ["preview", "--text", "${code} ${code}"];
    let (_, error, _) = laptop.refused(&twice).await;
    assert!(!error.to_string().contains("single quotes"), "{error}");
}

#[tokio::test]
async fn the_environment_says_the_place_and_an_argument_another_one() {
    let laptop = Laptop::start().await;
    let Addresses { dynamodb, sns, .. } = laptop.services.addresses;
    let with = async |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = program();
        command.env("TWOFA_DYNAMODB_ENDPOINT", format!("http://{dynamodb}"));
        command.env("TWOFA_SNS_ENDPOINT", format!("http://{sns}"));
        command.envs(variables.iter().copied()).args(arguments);
        run(command, "").await
    };
    let list = ["client", "list"];
    for yes in ["1", "true"] {
        let ran = with(&[("TWOFA_LOCAL", yes)], &list).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    assert!(with(&[], &list).await.err.contains("TWOFA_STACK"));
    let local = ["client", "list", "--local"];
    let ran = with(&[("TWOFA_STACK", "x")], &local).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    // It goes to the stack: no region is known.
    for (variables, arguments) in [
        (&[("TWOFA_STACK", "x")] as &[_], &list[..]),
        (&[("TWOFA_LOCAL", "1")], &["client", "list", "--stack", "x"]),
    ] {
        let ran = with(variables, arguments).await;
        assert!(
            ran.err.starts_with("error: there is no AWS region"),
            "{}",
            ran.err
        );
    }
    let both = [("TWOFA_LOCAL", "1"), ("TWOFA_STACK", "x")];
    assert!(with(&both, &list).await.err.contains("exclude each other"));
}

#[tokio::test]
async fn an_export_is_what_apply_reads() {
    let laptop = Laptop::start().await;
    laptop.applied(FILE, &[]).await;
    let added = laptop
        .add_client(
            "odd",
            &["--with-key", "--expires", "90d", "--networks", "10.0.0.0/8"],
        )
        .await;
    laptop
        .add_template("odd", "It's \"x\"", "Line 1\n\\ ${code} \'\'\' é")
        .await;
    laptop
        .json(&["client", "disable", "odd", "--switch", "product"])
        .await;
    let export = laptop.run(&["export"]).await.out;
    let again = laptop.applied(&export, &["--dry-run", "--exit-code"]).await;
    let summary = &again["summary"];
    assert_eq!(
        (&summary["create"], &summary["change"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(again["warnings"], json!([]));

    // Elsewhere it makes the same clients, and their keys open the API.
    let elsewhere = Laptop::start().await;
    elsewhere.applied(&export, &[]).await;
    let show = ["client", "show", "odd"];
    assert_eq!(elsewhere.json(&show).await, laptop.json(&show).await);
    let said = elsewhere.run(&["export"]).await.out;
    assert_eq!(said, export);
    let (status, _) = elsewhere.call(&key_of(&added), "request", &json!({})).await;
    assert_eq!(status, 401, "it is switched off");
    elsewhere
        .json(&["client", "enable", "odd", "--switch", "product"])
        .await;
    // A key that was revoked does not come back by the file.
    let id = added["key"]["id"].as_str().unwrap();
    assert_eq!(elsewhere.run(&["key", "revoke", "odd", id]).await.code, 0);
    elsewhere.applied(&export, &[]).await;
    assert_eq!(elsewhere.json(&show).await["keys"], json!([]));

    let one = laptop.run(&["export", "odd"]).await.out;
    assert!(
        one.contains("[clients.odd]") && !one.contains("clients.shop"),
        "{one}"
    );
    assert_eq!(laptop.refused(&["export", "nobody"]).await.0, 3);
}

#[tokio::test]
async fn a_drift_has_an_exit_code() {
    let laptop = Laptop::start().await;
    laptop.applied(FILE, &[]).await;
    let drift = ["apply", "-", "--dry-run", "--exit-code"];
    assert_eq!(laptop.run_with(&drift, FILE).await.code, 0);
    laptop
        .json(&["client", "set", "shop", "--per-second", "9"])
        .await;
    let ran = laptop.run_with(&drift, FILE).await;
    assert_eq!(ran.code, 4);
    assert!(ran.out.contains("limits.per_second: 9 → 50"), "{}", ran.out);
    assert_eq!(
        laptop
            .run_with(&["apply", "-", "--exit-code"], FILE)
            .await
            .code,
        2
    );
}

#[tokio::test]
async fn a_doctor_looks_at_all_that_a_message_needs() {
    let laptop = Laptop::start().await;
    let look = async || {
        let ran = laptop.run(&["doctor", "--json"]).await;
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let name = |check: &Value| check["check"].as_str().unwrap().to_owned();
        let state = |check: &Value| check["state"].as_str().unwrap().to_owned();
        let states: Vec<_> = checks
            .iter()
            .map(|check| (name(check), state(check)))
            .collect();
        (ran.code, states, checks)
    };
    let (code, states, checks) = look().await;
    assert_eq!(code, 0);
    let names: Vec<_> = states.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "region",
        "caller",
        "directory table",
        "verifications table",
        "secret",
        "SMS sandbox",
        "SMS spend limit",
        "senders",
    ];
    assert_eq!(names, expected);
    assert!(
        states.iter().all(|(_, state)| state == "fine"),
        "{checks:?}"
    );

    for (name, from) in [("Short", "AB"), ("Number", "+447400999999")] {
        let add = [
            "template", "add", "demo", name, "--from", from, "--text", "${code}",
        ];
        assert_eq!(laptop.run(&add).await.code, 0);
    }
    let (code, states, checks) = look().await;
    assert_eq!((code, states[7].1.as_str()), (0, "warning"));
    let detail = checks[7]["detail"].as_str().unwrap();
    assert!(detail.contains("demo, Short: from AB") && detail.contains("447400999999 is not"));

    for (is_sandboxed, spend_limit, expected) in [
        (false, None, ["fine", "warning"]),
        (false, Some("1"), ["fine", "warning"]),
        (false, Some("50"), ["fine", "fine"]),
        (true, Some("50"), ["warning", "fine"]),
    ] {
        let sns = sns_of(is_sandboxed, spend_limit, &[]).await;
        let mut command = account(&laptop);
        command.env("AWS_ENDPOINT_URL_SNS", format!("http://{sns}"));
        command.args(["--directory-table", DIRECTORY_TABLE]);
        command.args(["--verifications-table", VERIFICATIONS_TABLE, "doctor"]);
        let ran = run(command, "").await;
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let state = |name: &str| {
            let mut all = checks.iter();
            all.find(|one| one["check"] == name).unwrap()["state"].clone()
        };
        let states = [state("SMS sandbox"), state("SMS spend limit")];
        assert_eq!(states, expected, "{is_sandboxed} {spend_limit:?}");
    }

    // Tables that are not there, and no secret.
    let mut command = account(&laptop);
    command.args([
        "--directory-table",
        DIRECTORY_TABLE,
        "--verifications-table",
        "Nothing",
        "doctor",
    ]);
    let ran = run(command, "").await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    let states: Vec<_> = ran.json()["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["state"].clone())
        .collect();
    assert_eq!(states[2..5], ["fine", "broken", "broken"]);
}

#[tokio::test]
async fn a_test_message_goes_through_sns() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--max-price", "0.05"]).await;
    laptop
        .add_template("shop", "Pay", "${code} pays ${amount}")
        .await;
    let send = ["send-test", "--client", "shop", "--template", "Pay"];
    let (code, _, fields) = laptop.refused(&[&send[..], &[NUMBER]].concat()).await;
    assert_eq!((code, fields), (2, vec!["parameters.amount".to_owned()]));
    let more = ["--param", "amount=5", NUMBER];
    let told = laptop.json(&[&send[..], &more].concat()).await;
    assert_eq!(
        (&told["to"], &told["warnings"]),
        (&json!("+44…56"), &json!([]))
    );
    let inbox = laptop.inbox().await;
    assert_eq!(
        (&inbox[0]["from"], &inbox[0]["message_id"]),
        (&json!("Shop"), &told["message_id"])
    );
    assert!(inbox[0]["text"].as_str().unwrap().ends_with(" pays 5"));
    let abroad = ["--param", "amount=5", "+33 1 23 45 67 89"];
    let told = laptop.json(&[&send[..], &abroad].concat()).await;
    let warnings = told["warnings"].to_string();
    assert!(
        warnings.contains("fixed_line") && warnings.contains("may not send to FR"),
        "{warnings}"
    );

    laptop
        .run(&["template", "set", "shop", "Pay", "--from", "AB"])
        .await;
    let ran = laptop.run(&[&send[..], &more].concat()).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("caused by: Publish failed: Refused (code InvalidParameter"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("hint: SNS refuses the sender"),
        "{}",
        ran.err
    );
}
