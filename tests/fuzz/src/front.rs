//! The front door: whole HTTP requests, and what must hold of every answer.

use std::sync::Arc;

use enid_api::ec2::Ec2;
use enid_api::front::{Config, FrontDoor, NoAdmin};
use enid_api::reply::Reply;
use enid_api::sigv4::{Key, Keys};
use enid_api::sts::Sts;
use enid_control::Control;
use enid_model::key::AccountId;
use enid_model::state::State;
use enid_model::time::{Clock, Timestamp};
use enid_store::Store;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use roxmltree::{Document, Node};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

/// The key and the time by which the requests of the corpus are signed.
const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW: Timestamp = Timestamp(1_767_323_045_000);
const STAMP: &str = "20260102T030405Z";
const SCOPE: &str = "20260102/eu-west-1/ec2/aws4_request";
const HOST: &str = "127.0.0.1:4566";

/// The input is a request as it travels, with line feeds alone: method and target, headers, an empty
/// line, the body. It is answered well, whatever it is.
pub fn front(data: &[u8]) {
    let Some(request) = read(data) else {
        return;
    };
    Door::new().answer(request);
}

/// A request that HTTP can carry; what it cannot never gets this far.
fn read(data: &[u8]) -> Option<Request<Bytes>> {
    let end = data.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (&data[..end], &data[end + 2..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        request = request.header(name, value);
    }
    request.body(Bytes::copy_from_slice(body)).ok()
}

/// A front door before a region of its own, at a time that stands still.
pub(crate) struct Door {
    front: FrontDoor,
    control: Arc<Control>,
    runtime: Runtime,
}

impl Door {
    pub(crate) fn new() -> Self {
        let store = Store::in_memory().expect("memory opens");
        let random = StdRng::seed_from_u64(1);
        let control = Arc::new(Control::new(store, Arc::new(Stopped), random));
        let config = Config {
            keys: Arc::new(OneKey),
            clock: Arc::new(Stopped),
            admin: Arc::new(NoAdmin),
            enforced: false,
            request_id_seed: 1,
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            front: FrontDoor::new(config, Ec2::new(Arc::clone(&control)), Sts),
            control,
            runtime: runtime.enable_time().build().expect("a runtime starts"),
        }
    }

    /// What is stored.
    pub(crate) fn state(&self) -> Arc<State> {
        self.control.store().state()
    }

    /// Signs a form, sends it to EC2, and holds the answer against [`check`].
    pub(crate) fn call(&self, body: Vec<u8>) -> String {
        let canonical = format!(
            "POST\n/\n\nhost:{HOST}\nx-amz-date:{STAMP}\n\nhost;x-amz-date\n{}",
            hex(&Sha256::digest(&body))
        );
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{STAMP}\n{SCOPE}\n{}",
            hex(&Sha256::digest(canonical))
        );
        let secret = format!("AWS4{SECRET}").into_bytes();
        let key = SCOPE.split('/').fold(secret, |key, part| hmac(&key, part));
        let signature = hex(&hmac(&key, &to_sign));
        let request = Request::post("/")
            .header("host", HOST)
            .header("x-amz-date", STAMP)
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential={KEY_ID}/{SCOPE}, SignedHeaders=host;x-amz-date, Signature={signature}"
                ),
            )
            .body(Bytes::from(body))
            .expect("a request has these headers");
        let answer = self.answer(request);
        assert!(
            !answer.contains("SignatureDoesNotMatch"),
            "signed wrongly: {answer}"
        );
        answer
    }

    /// Sends a request and holds the answer against [`check`].
    fn answer(&self, request: Request<Bytes>) -> String {
        let own = request.uri().path().starts_with("/_enid/");
        let response = self.runtime.block_on(self.front.answer(request));
        let response = response.map(Reply::into_bytes);
        let text = std::str::from_utf8(response.body()).expect("an answer is text");
        check(&response, text, own);
        text.to_owned()
    }
}

/// A well-formed document of its protocol, and never an excuse of the server's own.
fn check(response: &Response<Bytes>, text: &str, own: bool) {
    let status = response.status();
    assert!(!status.is_server_error(), "{status}: {text}");
    let header = |name: &str| {
        let value = response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let request_id = header("x-amzn-requestid");
    assert_eq!(request_id.len(), 36, "{text}");
    assert_eq!(header("x-enid-datapath"), "none");
    let content_type = header("content-type");
    if content_type.contains("json") {
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON is well formed");
        assert!(own || json["__type"].is_string() && json["message"].is_string());
        return;
    }
    assert!(content_type.starts_with("text/xml"), "{content_type}");
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => panic!("{error}: {text}"),
    };
    let root = document.root_element();
    let told = texts(&root, &["requestId", "RequestId", "RequestID"]);
    assert_eq!(told, [request_id], "{text}");
    let name = root.tag_name().name();
    if status.is_success() {
        assert!(name.ends_with("Response") && name != "Response", "{text}");
        assert!(root.tag_name().namespace().is_some(), "{text}");
        return;
    }
    assert!(matches!(name, "Response" | "ErrorResponse"), "{text}");
    for part in ["Code", "Message"] {
        let found = texts(&root, &[part]);
        assert!(found.len() == 1 && !found[0].is_empty(), "{part}: {text}");
    }
}

/// The texts of all elements with one of these names.
fn texts<'a>(root: &Node<'a, 'a>, names: &[&str]) -> Vec<&'a str> {
    root.descendants()
        .filter(|node| node.is_element() && names.contains(&node.tag_name().name()))
        .map(|node| node.text().unwrap_or_default())
        .collect()
}

struct OneKey;

impl Keys for OneKey {
    fn find(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Key> {
        (access_key_id == KEY_ID && session_token.is_none()).then(|| Key {
            secret: SECRET.to_owned(),
            account: AccountId::DEFAULT,
            policy: None,
        })
    }
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
