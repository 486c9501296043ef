//! The front door over TCP: what clients see of it whatever they ask.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use enid_api::ec2::Ec2;
use enid_api::front::{Admin, AdminFuture, AdminRequest, AdminResponse, Config, FrontDoor};
use enid_api::server;
use enid_api::sigv4::{Key, Keys};
use enid_api::sts::Sts;
use enid_control::Control;
use enid_model::key::AccountId;
use enid_model::time::{Clock, Timestamp};
use enid_store::Store;
use hyper::StatusCode;
use hyper::body::Bytes;
use rand::SeedableRng as _;
use tokio::sync::watch;

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

/// It is always 2026-01-02T03:04:05Z, when the captured requests were signed.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp(1_767_323_045_000)
    }
}

fn control() -> Arc<Control> {
    let store = Store::in_memory().unwrap();
    let random = rand::rngs::StdRng::seed_from_u64(1);
    Arc::new(Control::new(store, Arc::new(Stopped), random))
}

struct Echo;

impl Admin for Echo {
    fn answer<'a>(&'a self, request: AdminRequest<'a>) -> AdminFuture<'a> {
        Box::pin(async move {
            (request.path == "echo").then(|| AdminResponse {
                status: StatusCode::ACCEPTED,
                content_type: "text/plain",
                body: Bytes::copy_from_slice(request.body),
            })
        })
    }
}

/// A server of its own on a port of its own; it stops when this is dropped.
struct Server {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Self {
        let config = Config {
            keys: Arc::new(OneKey),
            clock: Arc::new(Stopped),
            admin: Arc::new(Echo),
            enforced: false,
            request_id_seed: 1,
        };
        let front = Arc::new(FrontDoor::new(config, Ec2::new(control()), Sts));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(server::serve(listener, front, stopped));
        Self {
            address,
            _stop: stop,
            _runtime: runtime,
        }
    }

    /// Sends bytes and reads until the server closes.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A server that refuses early may reset the connection behind its answer.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn request(&self, head: &str, body: &str) -> String {
        let head = head.trim_end().replace('\n', "\r\n");
        let length = body.len();
        self.send(
            format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        )
    }

    /// Sends a request that botocore has signed.
    fn captured(&self, text: &str) -> String {
        let (head, body) = text.split_once("\n\n").unwrap();
        let lines: Vec<&str> = head
            .lines()
            .filter(|line| !line.starts_with("Content-Length"))
            .collect();
        let head = lines.join("\n").replacen('\n', " HTTP/1.1\n", 1);
        self.request(&head, body)
    }
}

fn assert_has(answer: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(answer.contains(part), "no {part} in {answer}");
    }
}

#[test]
fn signed_requests_are_answered() {
    let server = Server::start();
    assert_has(
        &server.captured(include_str!("sigv4/ec2-post.txt")),
        &[
            "HTTP/1.1 200 OK\r\n",
            "content-type: text/xml;charset=UTF-8\r\n",
            "x-amzn-requestid: ",
            "x-enid-datapath: none\r\n",
            "<DescribeRegionsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>",
            "<regionInfo><item><optInStatus>opt-in-not-required</optInStatus><regionName>eu-west-1</regionName><regionEndpoint>ec2.eu-west-1.amazonaws.com</regionEndpoint></item></regionInfo></DescribeRegionsResponse>",
        ],
    );
    for captured in [
        include_str!("sigv4/sts-post.txt"),
        include_str!("sigv4/sts-presigned.txt"),
    ] {
        assert_has(
            &server.captured(captured),
            &[
                "HTTP/1.1 200 OK\r\n",
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>",
                "<Account>123456789012</Account>",
                "<Arn>arn:aws:iam::123456789012:root</Arn>",
                "</GetCallerIdentityResult><ResponseMetadata><RequestId>",
            ],
        );
    }
}

#[test]
fn wrong_signatures_are_refused_in_the_form_of_the_service() {
    let server = Server::start();
    let ec2 = include_str!("sigv4/ec2-post.txt");
    let sts = include_str!("sigv4/sts-post.txt");
    let wanted = [
        "HTTP/1.1 401 Unauthorized\r\n",
        "<Response><Errors><Error><Code>AuthFailure</Code><Message>AWS was not able to validate the provided access credentials</Message></Error></Errors><RequestID>",
    ];
    assert_has(
        &server.captured(&ec2.replace("AKIDEXAMPLE", "AKIDOTHER")),
        &wanted,
    );
    assert_has(
        &server.captured(&ec2.replace("RegionName.1=eu-west-1", "RegionName.1=eu-west-2")),
        &wanted,
    );
    assert_has(
        &server.captured(&sts.replace("AKIDEXAMPLE", "AKIDOTHER")),
        &[
            "HTTP/1.1 403 Forbidden\r\n",
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>",
        ],
    );
    assert_has(
        &server.captured(&sts.replace("Signature=", "Signature=00")),
        &["<Code>SignatureDoesNotMatch</Code>"],
    );
}

#[test]
fn requests_without_a_signature_are_refused() {
    let server = Server::start();
    let head = "POST / HTTP/1.1\nHost: x";
    for (body, wanted) in [
        (
            "Action=DescribeVpcs&Version=2016-11-15",
            "<Response><Errors><Error><Code>MissingAuthenticationToken</Code>",
        ),
        (
            "Action=GetCallerIdentity&Version=2011-06-15",
            "<Type>Sender</Type><Code>MissingAuthenticationToken</Code>",
        ),
        ("", "<Code>MissingAuthenticationToken</Code>"),
        ("%%%\0", "<Code>MissingAuthenticationToken</Code>"),
    ] {
        assert_has(
            &server.request(head, body),
            &["HTTP/1.1 403 Forbidden\r\n", wanted],
        );
    }
}

#[test]
fn services_that_are_absent_are_named() {
    let server = Server::start();
    let other = |service: &str, more: &str| {
        format!(
            "POST / HTTP/1.1\nHost: x{more}\nAuthorization: AWS4-HMAC-SHA256 Credential=A/20260102/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
        )
    };
    assert_has(
        &server.request(&other("iam", ""), ""),
        &["HTTP/1.1 400 ", "<Code>UnsupportedOperation</Code><Message>Enid does not implement the service &apos;iam&apos;".replace("&apos;", "'").as_str()],
    );
    assert_has(
        &server.request(
            &other("dynamodb", "\nX-Amz-Target: DynamoDB_20120810.ListTables"),
            "{}",
        ),
        &[
            "{\"__type\":\"UnsupportedOperation\",\"message\":\"Enid does not implement the service 'dynamodb'.\"}",
        ],
    );
}

#[test]
fn what_cannot_be_received_is_refused() {
    let server = Server::start();
    let long = "a".repeat(1024 * 1024 + 1);
    assert_has(
        &server.request("POST / HTTP/1.1\nHost: x", &long),
        &[
            "HTTP/1.1 413 ",
            "<Code>RequestEntityTooLarge</Code>",
            "x-amzn-requestid: ",
        ],
    );
    assert_has(
        &server.send(b"nonsense\r\n\r\n"),
        &["HTTP/1.1 400 Bad Request\r\n"],
    );
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "a".repeat(1_000_000)
    );
    assert_has(&server.send(head.as_bytes()), &["HTTP/1.1 431 "]);
}

#[test]
fn the_own_interface_needs_no_signature_but_no_page_reaches_it() {
    let server = Server::start();
    let host = "Host: 127.0.0.1:4566";
    assert_has(
        &server.request(&format!("GET /_enid/health HTTP/1.1\n{host}"), ""),
        &["HTTP/1.1 200 OK\r\n", "{\"status\":\"ready\"}"],
    );
    assert_has(
        &server.request(&format!("POST /_enid/echo HTTP/1.1\n{host}"), "hello"),
        &["HTTP/1.1 202 Accepted\r\n", "\r\n\r\nhello"],
    );
    assert_has(
        &server.request(&format!("POST /_enid/other HTTP/1.1\n{host}"), ""),
        &["HTTP/1.1 404 Not Found\r\n"],
    );
    assert_has(
        &server.request(
            &format!("POST /_enid/echo HTTP/1.1\n{host}\nOrigin: http://example.com"),
            "x",
        ),
        &["HTTP/1.1 403 Forbidden\r\n"],
    );
}

#[test]
fn stopping_lets_go_of_idle_connections() {
    let Server {
        address,
        _stop: stop,
        _runtime: runtime,
    } = Server::start();
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /_enid/health HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut first = [0; 64];
    assert!(idle.read(&mut first).unwrap() > 0);
    stop.send(true).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    drop(runtime);
}
