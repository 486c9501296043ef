//! Signatures made by others: the published test suite of Signature Version 4, and botocore.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use enid_api::sigv4::{self, AuthError, Caller, Key, Keys, Signed, SigningKeys};
use enid_model::key::AccountId;
use enid_model::time::Timestamp;
use hyper::http::{HeaderMap, HeaderName, HeaderValue};

struct OneKey;

impl Keys for OneKey {
    fn find(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Key> {
        (access_key_id == "AKIDEXAMPLE" && session_token.is_none()).then(|| Key {
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            account: AccountId::DEFAULT,
            policy: None,
        })
    }
}

#[derive(Clone)]
struct Captured {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Captured {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }

    fn verify(&self, now: Timestamp) -> Result<Caller, AuthError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name.to_ascii_lowercase()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let signed = Signed {
            method: &self.method,
            path,
            query,
            headers: &headers,
        };
        let claim = sigv4::claim(&signed).ok_or(AuthError::Missing)??;
        sigv4::verify(
            &claim,
            signed,
            self.body.as_bytes(),
            now,
            &OneKey,
            &SigningKeys::default(),
        )
    }
}

/// 2026-01-02T03:04:05Z, when the captured requests were signed.
const SIGNED: Timestamp = Timestamp(1_767_323_045_000);

fn later(seconds: i64) -> Timestamp {
    Timestamp(SIGNED.0 + seconds * 1000)
}

const CAPTURED: [(&str, &str); 5] = [
    ("ec2-post", include_str!("sigv4/ec2-post.txt")),
    (
        "ec2-post-unicode",
        include_str!("sigv4/ec2-post-unicode.txt"),
    ),
    ("ec2-presigned", include_str!("sigv4/ec2-presigned.txt")),
    ("sts-post", include_str!("sigv4/sts-post.txt")),
    ("sts-presigned", include_str!("sigv4/sts-presigned.txt")),
];

#[test]
fn botocore_is_understood() {
    for (name, text) in CAPTURED {
        let caller = Captured::read(text)
            .verify(SIGNED)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(caller.account, AccountId::DEFAULT);
        assert_eq!(caller.region.name, "eu-west-1");
    }
}

#[test]
fn a_request_that_was_changed_is_refused() {
    for (name, text) in CAPTURED {
        let captured = Captured::read(text);
        let mut changed = vec![];
        changed.push(Captured {
            body: captured.body.clone() + "&x=y",
            ..captured.clone()
        });
        changed.push(Captured {
            method: "PUT".to_owned(),
            ..captured.clone()
        });
        let target = captured.target.replacen('/', "/x", 1);
        changed.push(Captured {
            target,
            ..captured.clone()
        });
        if captured.target.contains('?') {
            changed.push(Captured {
                target: captured.target.clone() + "&x=y",
                ..captured.clone()
            });
        }
        let mut elsewhere = captured.clone();
        for (header, value) in &mut elsewhere.headers {
            if header == "Host" {
                "127.0.0.1:80".clone_into(value);
            }
        }
        changed.push(elsewhere);
        for changed in changed {
            assert_eq!(changed.verify(SIGNED), Err(AuthError::Signature), "{name}");
        }
    }
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let header = Captured::read(CAPTURED[0].1);
    assert!(header.verify(later(900)).is_ok());
    assert!(matches!(
        header.verify(later(901)),
        Err(AuthError::Expired { .. })
    ));
    assert!(header.verify(later(-900)).is_ok());
    assert!(matches!(
        header.verify(later(-901)),
        Err(AuthError::NotYet { .. })
    ));
    let presigned = Captured::read(CAPTURED[2].1);
    assert!(presigned.verify(later(60)).is_ok());
    assert!(matches!(
        presigned.verify(later(61)),
        Err(AuthError::Expired { .. })
    ));
}

#[test]
fn unknown_keys_and_tokens_are_refused() {
    let token = Captured::read(include_str!("sigv4/ec2-post-token.txt"));
    assert_eq!(token.verify(SIGNED), Err(AuthError::UnknownKey));
    let change = |from: &str, to: &str| {
        Captured::read(&CAPTURED[0].1.replace(from, to))
            .verify(SIGNED)
            .unwrap_err()
    };
    assert_eq!(change("AKIDEXAMPLE", "AKIDOTHER"), AuthError::UnknownKey);
    assert_eq!(
        change("/eu-west-1/", "/eu-west-9/"),
        AuthError::Region("eu-west-9".to_owned())
    );
    assert_eq!(
        change("/aws4_request", "/aws5"),
        AuthError::Terminator("aws5".to_owned())
    );
    assert!(matches!(
        change("/20260102/", "/20260103/"),
        AuthError::ScopeDate { .. }
    ));
    assert_eq!(change("host;", ""), AuthError::HostNotSigned);
    assert_eq!(
        change("X-Amz-Date: 20260102T030405Z\n", ""),
        AuthError::NoDate
    );
    assert_eq!(change("Authorization: ", "Other: "), AuthError::Missing);
}

/// Cases of the published suite (aws-sig-v4-test-suite): its key, its time, its scope.
#[test]
fn the_published_suite_is_met() {
    let now = Timestamp(1_440_938_160_000);
    let form = "Content-Type: application/x-www-form-urlencoded";
    for (name, method, target, headers, signed, body, signature) in [
        (
            "get-vanilla",
            "GET",
            "/",
            vec![],
            "host;x-amz-date",
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-relative",
            "GET",
            "/example/..",
            vec![],
            "host;x-amz-date",
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-vanilla-query-order-key-case",
            "GET",
            "/?Param2=value2&Param1=value1",
            vec![],
            "host;x-amz-date",
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "post-vanilla",
            "POST",
            "/",
            vec![],
            "host;x-amz-date",
            "",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "post-x-www-form-urlencoded",
            "POST",
            "/",
            vec![form],
            "content-type;host;x-amz-date",
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "get-header-value-trim",
            "GET",
            "/",
            vec!["My-Header1:  value1", "My-Header2:  \"a   b   c\""],
            "host;my-header1;my-header2;x-amz-date",
            "",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
    ] {
        let mut text = format!(
            "{method} {target}\nHost: example.amazonaws.com\nX-Amz-Date: 20150830T123600Z\n"
        );
        for header in headers {
            text += &format!("{}\n", header.replacen(": ", ":", 1).replacen(':', ": ", 1));
        }
        text += &format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, Signature={signature}\n\n{body}"
        );
        let verified = Captured::read(&text).verify(now);
        assert!(verified.is_ok(), "{name}: {verified:?}");
    }
}
