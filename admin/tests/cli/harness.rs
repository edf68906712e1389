//! The program itself, and the laptop's services with an operator at them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
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
    self, Addresses, DIRECTORY_TABLE, SECRET, Services, Storage, sdk_config,
};

/// A recipient; no output may show all of it.
pub const NUMBER: &str = "+44 7400 123456";

pub const NUMBER_DIGITS: &str = "7400123456";

/// The exit code and output of a command.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }

    /// The error, as scripts get it, and the fields that it names.
    pub fn error(&self) -> (Value, Vec<String>) {
        let error: Value = serde_json::from_str(&self.err).unwrap();
        let fields = error["fields"].as_array().unwrap().iter();
        let fields = fields.map(|fault| fault["field"].as_str().unwrap().to_owned());
        (error.clone(), fields.collect())
    }
}

/// The program without any place.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twofa"));
    // Nothing of whoever runs the tests.
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

pub async fn run(mut command: Command, input: &str) -> Ran {
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

pub async fn nowhere(arguments: &[&str]) -> Ran {
    let mut command = program();
    command.args(arguments);
    run(command, "").await
}

/// A laptop's services with an operator at it.
pub struct Laptop {
    pub services: Services,
    pub seed: String,
    pub numbers: AtomicU32,
}

/// A write of a command that waits for the test's word.
pub type Held = oneshot::Sender<NetworkFault>;

/// The outcome of a write.
#[derive(Clone, Copy)]
pub enum NetworkFault {
    /// It reaches DynamoDB.
    Made,
    /// It met a transaction.
    Conflict,
    /// It reaches DynamoDB, and its answer is lost.
    Lost,
}

impl Laptop {
    pub async fn start() -> Self {
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

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "").await
    }

    pub async fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let dynamodb = self.services.addresses.dynamodb;
        self.run_at(dynamodb, arguments, input).await
    }

    pub fn command(&self, dynamodb: SocketAddr, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(["--local", "--dynamodb-endpoint"]);
        command.arg(format!("http://{dynamodb}"));
        command.arg("--sns-endpoint");
        command.arg(format!("http://{}", self.services.addresses.sns));
        command.args(arguments);
        command
    }

    /// Runs a command and reads all that it says for what nobody may see.
    pub async fn run_at(&self, dynamodb: SocketAddr, arguments: &[&str], input: &str) -> Ran {
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

    /// The JSON of a command that is carried out.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        ran.json()
    }

    /// The exit code of a command that is refused, what it says to scripts, and the fields it names.
    pub async fn refused(&self, arguments: &[&str]) -> (i32, Value, Vec<String>) {
        let ran = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(ran.out, "", "{arguments:?}");
        let (error, fields) = ran.error();
        (ran.code, error, fields)
    }

    pub async fn add_client(&self, id: &str, more: &[&str]) -> Value {
        let arguments = [&["client", "add", id, "--countries", "GB"], more].concat();
        self.json(&arguments).await
    }

    pub async fn add_template(&self, client: &str, name: &str, text: &str) -> String {
        let arguments = [
            "template", "add", client, name, "--from", "Shop", "--text", text,
        ];
        let added = self.json(&arguments).await;
        added["template"]["id"].as_str().unwrap().to_owned()
    }

    /// Runs a command that changes something, and asks `meanwhile` before each of its writes what
    /// becomes of it; returns how many there were.
    pub async fn run_between(
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
    pub async fn overtaken(&self, arguments: &[&str], input: &str, client: &str, name: &str) {
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
    pub async fn hold_writes(&self) -> (SocketAddr, mpsc::Receiver<Held>) {
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
    pub async fn cold(&self, daily_part_cap: Option<u32>) -> SocketAddr {
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

    /// The outcome of a request to a number that was never sent to.
    pub async fn ask(&self, function: SocketAddr, key: &str, template: &str) -> String {
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
    pub async fn ask_warm(&self, key: &str, template: &str) -> String {
        self.ask(self.services.addresses.api, key, template).await
    }

    /// The same of a function that reads the client now.
    pub async fn ask_cold(&self, key: &str, template: &str) -> String {
        self.ask(self.cold(None).await, key, template).await
    }

    /// A client with a key and a template.
    pub async fn shop(&self, more: &[&str]) -> (String, String) {
        let added = self
            .add_client("shop", &[&["--with-key"], more].concat())
            .await;
        let login = self.add_template("shop", "Login", "${code}").await;
        (key_of(&added), login)
    }

    /// Calls the API.
    pub async fn call(&self, key: &str, verb: &str, body: &Value) -> (u16, Value) {
        call_at(self.services.addresses.api, key, verb, body).await
    }

    pub async fn send(&self, key: &str, to: &str, template: &str) -> (u16, Value) {
        let order = json!({ "to": to, "template_id": template });
        self.call(key, "request", &order).await
    }

    pub async fn inbox(&self) -> Vec<Value> {
        let url = format!("http://{}/inbox", self.services.addresses.api);
        http().get(url).send().await.unwrap().json().await.unwrap()
    }

    pub fn directory(&self) -> Directory {
        let config = sdk_config(self.services.addresses.dynamodb);
        Directory::new(twofa::aws::dynamodb(&config), DIRECTORY_TABLE)
    }

    /// Everything that is stored of a client, to see that nothing was written.
    pub async fn stored(&self, client: &str) -> String {
        let id = ClientId::parse(client).unwrap();
        format!("{:?}", self.directory().query(&id).await.unwrap())
    }
}

pub async fn call_at(function: SocketAddr, key: &str, verb: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://{function}/v1.0/2fa/{verb}");
    let request = http().post(url).header("X-API-KEY", key).json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub fn key_of(added: &Value) -> String {
    added["key"]["key"].as_str().unwrap().to_owned()
}

/// The client of [`Laptop::shop`] in a file, with this in it.
pub fn file_of_shop(settings: &str) -> String {
    format!("[clients.shop]\n{settings}\n")
}

/// A file of two clients; `demo` is there already.
pub const FILE: &str = r#"
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
    pub async fn apply(&self, file: &str, options: &[&str]) -> Ran {
        let arguments = [&["apply", "-", "--json"], options].concat();
        self.run_with(&arguments, file).await
    }

    pub async fn applied(&self, file: &str, options: &[&str]) -> Value {
        let ran = self.apply(file, options).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.json()
    }

    /// Adds a template of which something is to be said.
    pub async fn add_template_with_warnings(&self, client: &str, name: &str, text: &str) -> String {
        let arguments = [
            "template", "add", client, name, "--from", "Shop", "--text", text,
        ];
        let added = self.json(&arguments).await;
        assert_ne!(added["warnings"], json!([]));
        added["template"]["id"].as_str().unwrap().to_owned()
    }
}

/// The program with the credentials of an AWS account that is the laptop's services.
pub fn account(laptop: &Laptop) -> Command {
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

/// SNS as it answers of an account's settings, and of the subscriptions to its topics by their ARNs.
pub async fn sns_of(
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
