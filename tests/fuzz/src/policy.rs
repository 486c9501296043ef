//! Policies of keys.

use enid_api::policy::{Decision, Facts, Policy};

const ACTION: &str = "ec2:DeleteVpc";
const RESOURCE: &str = "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-00000000000000001";

/// The input is a policy. What is read decides, the same for a copy of it, and as an independent
/// reader of JSON says where that is plain: without a statement that allows, nothing is allowed.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(policy) = Policy::parse(text) else {
        return;
    };
    let mut facts = Facts::default();
    facts.set("aws:requestedregion", "eu-west-1");
    facts.set("aws:sourceip", "10.0.0.1");
    facts.set("aws:username", "ann");
    let decision = policy.decide(ACTION, RESOURCE, &facts);
    let json: serde_json::Value = serde_json::from_str(text).expect("a policy is JSON");
    // Members in another order, white space gone: the same policy.
    let again = Policy::parse(&json.to_string()).expect("a policy stays one");
    assert_eq!(again.decide(ACTION, RESOURCE, &facts), decision);
    let statement = &json["Statement"];
    let statements = match statement.as_array() {
        Some(statements) => statements.iter().collect(),
        None => vec![statement],
    };
    let has = |effect: &str| statements.iter().any(|own| own["Effect"] == effect);
    match decision {
        Decision::Allowed => assert!(has("Allow")),
        Decision::DeniedExplicitly => assert!(has("Deny")),
        Decision::DeniedImplicitly => {}
    }
    // A statement that names everything without a condition applies, whatever the others say.
    let everything = |own: &&serde_json::Value| {
        own["Action"] == "*" && own["Resource"] == "*" && own.get("Condition").is_none()
    };
    for own in statements.iter().copied().filter(everything) {
        match own["Effect"].as_str() {
            Some("Deny") => assert_eq!(decision, Decision::DeniedExplicitly),
            _ => assert_ne!(decision, Decision::DeniedImplicitly),
        }
    }
}
