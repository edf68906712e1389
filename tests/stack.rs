//! The template as CloudFormation reads it, beside what the code makes of it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;
use twofa::config::{
    AccountConfig, Config, DirectoryConfig, PreTrafficConfig, RequestConfig, RotationConfig,
    VerificationConfig,
};

/// The variables that a configuration reads.
fn all_read_by<C: Config>() -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    let note = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        None
    };
    assert!(C::from_lookup(&note).is_err(), "nothing is there");
    names.into_inner()
}

/// Those of them that Lambda does not set for every function.
fn read_by<C: Config>() -> BTreeSet<String> {
    let account = all_read_by::<AccountConfig>();
    all_read_by::<C>().difference(&account).cloned().collect()
}

#[test]
#[ignore = "needs the file that tests/stack/stack.py writes: run it by `make template`"]
fn each_function_is_told_exactly_what_it_reads() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/target/stack/template.json");
    let template: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let resources = template["Resources"].as_object().unwrap();
    let told = |function: &str| -> BTreeSet<String> {
        let variables = &resources[function]["Properties"]["Environment"]["Variables"];
        variables.as_object().unwrap().keys().cloned().collect()
    };
    let functions = [
        ("RequestFunction", read_by::<RequestConfig>()),
        ("ValidateFunction", read_by::<VerificationConfig>()),
        ("TemplateFunction", read_by::<DirectoryConfig>()),
        ("RotationFunction", read_by::<RotationConfig>()),
        ("PreTrafficFunction", read_by::<PreTrafficConfig>()),
    ];
    for (function, read) in &functions {
        assert_eq!(told(function), *read, "{function}");
    }
    let is_function = |resource: &&Value| resource["Type"] == "AWS::Lambda::Function";
    let count = resources.values().filter(is_function).count();
    assert_eq!(count, functions.len());
}
