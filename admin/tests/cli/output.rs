//! Help, errors and completions.

use axum::Router;
use axum::http::StatusCode;
use tokio::net::TcpListener;

use crate::harness::{Laptop, nowhere};

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
