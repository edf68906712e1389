//! `twofa key`.

use serde_json::json;
use twofa::domain::ids::ClientId;

use crate::harness::{Laptop, key_of};

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
