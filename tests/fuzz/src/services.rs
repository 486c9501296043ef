//! What instances send to the link-local services: queries to the resolver, requests to the metadata
//! service.

use std::sync::{Arc, OnceLock};

use enid_control::{Caller, Control, RunInstances, WantedMetadata};
use enid_host::services::asker::Asker;
use enid_host::services::dns::{self, Answer, Transport};
use enid_host::services::imds::{Imds, Request, Response};
use enid_model::id::{EniId, InstanceId};
use enid_model::key::{AccountId, Scope};
use enid_model::region::Region;
use enid_model::state::State;
use enid_model::time::{Clock, Timestamp};
use enid_store::Store;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const NOW: Timestamp = Timestamp(1_767_323_045_000);
const HEADER_BYTES: usize = 12;
/// What a datagram holds if the query says nothing else.
const UDP_BYTES: usize = 512;

/// A default VPC with two instances; the second one wants tokens.
struct World {
    state: Arc<State>,
    scope: Scope,
    open: EniId,
    strict: EniId,
}

/// The state never changes, so it is made once.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(build())
    })
}

async fn build() -> World {
    let store = Store::in_memory().expect("memory opens");
    let control = Control::new(store, Arc::new(Stopped), StdRng::seed_from_u64(1));
    let caller = Caller {
        account: AccountId::DEFAULT,
        region: Region::named("eu-west-1").expect("a region"),
        dry_run: false,
        asked: None,
    };
    let mut enis = Vec::new();
    for strict in [false, true] {
        let input = RunInstances {
            image: "ami-00000000".to_owned(),
            min_count: 1,
            max_count: 1,
            user_data: Some(b"#!/bin/sh\n".to_vec()),
            metadata_options: WantedMetadata {
                tokens_required: Some(strict),
                ..WantedMetadata::default()
            },
            ..RunInstances::default()
        };
        let launched = control.run_instances(&caller, input).await;
        let instance: InstanceId = launched.expect("a launch").instances[0].id;
        let region = control.read(&caller).await.expect("the region is alive");
        enis.push(region.primary_eni(instance).expect("an interface").id);
    }
    World {
        state: control.store().state(),
        scope: caller.scope(),
        open: enis[0],
        strict: enis[1],
    }
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A datagram or a message of a stream: a reply has the query's id, says that it is one, is as long as
/// it may be, and is itself never replied to.
pub fn dns(data: &[u8]) {
    let world = world();
    let asker = Asker::of_eni(&world.state, &world.scope, world.open).expect("an interface");
    for transport in [Transport::Udp, Transport::Tcp] {
        match dns::answer(&asker, data, transport) {
            Answer::Forward => {
                let failure = dns::failure(data).expect("what is asked can be failed");
                check_reply(&asker, data, &failure, Transport::Tcp);
            }
            Answer::Ignore => {
                let is_response = data.get(2).is_some_and(|flags| flags & 0x80 != 0);
                assert!(data.len() < HEADER_BYTES || is_response);
            }
            Answer::Reply(reply) => check_reply(&asker, data, &reply, transport),
        }
        // What a resolver of the host says may be anything as well.
        let (query, said) = data.split_at(data.len() / 2);
        for (query, said) in [(query, said), (data, data)] {
            if let Some(reply) = dns::passed_on(query, said, transport) {
                assert_eq!(reply[..2], query[..2]);
            }
        }
    }
}

fn check_reply(asker: &Asker<'_>, query: &[u8], reply: &[u8], transport: Transport) {
    assert!(reply.len() >= HEADER_BYTES);
    assert_eq!(reply[..2], query[..2]);
    assert_ne!(reply[2] & 0x80, 0, "a reply says that it is one");
    let has_opt = query[10..12] != [0, 0];
    if transport == Transport::Udp && !has_opt {
        assert!(reply.len() <= UDP_BYTES);
    }
    assert_eq!(dns::answer(asker, reply, transport), Answer::Ignore);
}

/// A request as it travels, with line feeds alone: method and target, then headers. Nobody is told
/// anything without a token who must not be, and what a listing names is there.
pub fn imds(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(first) = lines.next().and_then(|line| std::str::from_utf8(line).ok()) else {
        return;
    };
    let Some((method, target)) = first.split_once(' ') else {
        return;
    };
    let mut request = Request {
        method,
        target,
        ..Request::default()
    };
    for line in lines {
        match line.iter().position(|byte| *byte == b':') {
            Some(at) if line[..at].eq_ignore_ascii_case(b"token") => {
                request.token = Some(&line[at + 1..]);
            }
            Some(at) if line[..at].eq_ignore_ascii_case(b"ttl") => {
                request.ttl = Some(&line[at + 1..]);
            }
            Some(at) if line[..at].eq_ignore_ascii_case(b"forwarded") => {
                request.is_forwarded = true;
            }
            _ => {}
        }
    }
    let world = world();
    let imds = Imds::with_key([7; 32]);
    let ask = |eni, request: &Request<'_>| -> Response {
        let asker = Asker::of_eni(&world.state, &world.scope, eni).expect("an interface");
        let answer = imds.answer(&asker, request, NOW);
        answer.expect("an instance is answered")
    };
    let open = ask(world.open, &request);
    let strict = ask(world.strict, &request);
    for response in [&open, &strict] {
        assert!(matches!(response.status, 200 | 400 | 401 | 403 | 404 | 405));
        assert_eq!(response.status == 405, response.allow.is_some());
        if let Some(ttl) = response.ttl {
            assert!(method == "PUT" && (1..=21_600).contains(&ttl));
            assert_eq!(response.hop_limit, Some(1));
        }
    }
    if matches!(method, "GET" | "HEAD") {
        assert_ne!(strict.status, 200, "no token can be made up");
    }
    let is_put = method == "PUT" && open.status == 200;
    if is_put {
        let with = Request {
            method: "GET",
            target: "/",
            token: Some(&open.body),
            ..Request::default()
        };
        assert_eq!(ask(world.open, &with).status, 200);
        assert_eq!(ask(world.strict, &with).status, 401);
    } else if open.status == 200 && open.content_type == "text/plain" {
        check_listing(&ask, world.open, target, &open.body);
    }
}

/// If a path has a listing, each name in it leads on. Whether a text is a listing is seen from that
/// the path with a slash behind it and any name has something.
fn check_listing(
    ask: &impl Fn(EniId, &Request<'_>) -> Response,
    eni: EniId,
    target: &str,
    body: &[u8],
) {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let get = |target: &str| {
        let request = Request {
            method: "GET",
            target,
            ..Request::default()
        };
        ask(eni, &request).status
    };
    let text = std::str::from_utf8(body).expect("what is told is text");
    let names: Vec<&str> = text.split('\n').collect();
    assert!(!text.ends_with('\n'), "nothing follows the last name");
    let statuses = names.iter().map(|name| {
        // A key is listed as its number and its name.
        let name = name.split_once('=').map_or(*name, |(number, _)| number);
        get(&format!("{path}/{name}"))
    });
    let found = statuses.filter(|status| *status == 200).count();
    assert!(found == 0 || found == names.len(), "{path}: {text}");
}
