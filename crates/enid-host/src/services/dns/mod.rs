//! The VPC's resolver: what it knows by itself, and what it hands on.
//!
//! [`answer`] is a function of the state, of who asks, and of the query. What it knows are the names
//! that AWS gives: private ones of addresses and instances, public ones, those of load balancers, and
//! those that addresses point back to ([`zone`]). All else goes to the host's resolvers; private and link-local ranges
//! never do.
//!
//! Source of the behaviour: the VPC User Guide, "Understanding Amazon DNS"; RFC 1035, 2308, 6303 and
//! 6891.

mod balancer;
mod zone;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::asker::Asker;
use zone::{Found, Labels};

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a stream: an answer has any length up to 65,535 bytes.
    Tcp,
    /// In a datagram.
    Udp,
}

/// What to do with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Ask the host's resolvers, and pass on what they say ([`passed_on`]).
    Forward,
    /// Say nothing.
    Ignore,
    /// Send this message.
    Reply(Vec<u8>),
}

/// The answer to a query.
#[must_use]
pub fn answer(asker: &Asker<'_>, query: &[u8], transport: Transport) -> Answer {
    if !asker.vpc.enable_dns_support {
        return Answer::Ignore;
    }
    let message = match read(query) {
        Ok(message) => message,
        Err(answer) => return answer,
    };
    let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.checking_disabled = message.metadata.checking_disabled;
    reply.metadata.recursion_available = true;
    reply.add_queries(message.queries.iter().cloned());
    if let Some(asked) = &message.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD_MAX);
        if asked.version() > 0 {
            // The upper bits of the code are the OPT record's.
            edns.set_rcode_high(ResponseCode::BADVERS.high());
        }
        reply.set_edns(edns);
    }
    let known = match refusal(&message) {
        Some(code) => {
            reply.metadata.response_code = code;
            true
        }
        None => message
            .queries
            .first()
            .is_some_and(|query| resolve(asker, query, &mut reply)),
    };
    if !known {
        return Answer::Forward;
    }
    Answer::Reply(encoded(&reply, limit(&message, transport)))
}

/// The answer when no resolver of the host has one: SERVFAIL. `None` if the query is none.
#[must_use]
pub fn failure(query: &[u8]) -> Option<Vec<u8>> {
    let message = read(query).ok()?;
    let (id, code) = (message.metadata.id, message.metadata.op_code);
    let mut reply = Message::error_msg(id, code, ResponseCode::ServFail);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(message.queries);
    Some(encoded(&reply, usize::from(u16::MAX)))
}

/// What a resolver of the host said to a query, as it is passed on: with the query's id, and cut to
/// what the asker can take. `None` if it is no answer to the query.
#[must_use]
pub fn passed_on(query: &[u8], reply: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let asked = Message::from_vec(query).ok()?;
    let mut said = Message::from_vec(reply).ok()?;
    let same = asked.queries.len() == said.queries.len()
        && asked.queries.iter().zip(&said.queries).all(|(one, other)| {
            one.name() == other.name() && one.query_type() == other.query_type()
        });
    if said.metadata.message_type != MessageType::Response || !same {
        return None;
    }
    let limit = limit(&asked, transport);
    if reply.len() <= limit
        && let Some(rest) = reply.get(2..)
    {
        // Untouched but for the id: it may hold what this reader does not know.
        return Some([&asked.metadata.id.to_be_bytes(), rest].concat());
    }
    said.metadata.id = asked.metadata.id;
    Some(encoded(&said, limit))
}

/// Reads a query; where there is none, what to do instead.
fn read(bytes: &[u8]) -> Result<Message, Answer> {
    // Sixteen bits of id, one bit that says whether it is a response.
    let [high, low, flags, ..] = *bytes else {
        return Err(Answer::Ignore);
    };
    // An answer to an answer is how two servers talk for ever.
    if bytes.len() < HEADER_BYTES || flags & RESPONSE_FLAG != 0 {
        return Err(Answer::Ignore);
    }
    Message::from_vec(bytes).map_err(|_malformed| {
        let id = u16::from_be_bytes([high, low]);
        let reply = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
        Answer::Reply(encoded(&reply, UDP_BYTES))
    })
}

/// Why a message is not answered.
fn refusal(message: &Message) -> Option<ResponseCode> {
    if message.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Some(ResponseCode::BADVERS);
    }
    let [query] = message.queries.as_slice() else {
        return Some(ResponseCode::FormErr);
    };
    let is_transfer_or_any = matches!(
        query.query_type(),
        RecordType::AXFR | RecordType::IXFR | RecordType::ANY
    );
    (is_transfer_or_any || query.query_class() != DNSClass::IN).then_some(ResponseCode::Refused)
}

/// Puts what is known of a name into a reply. False if it is not for this resolver to know.
fn resolve(asker: &Asker<'_>, query: &Query, reply: &mut Message) -> bool {
    let labels = Labels::of(query.name());
    let draw = reply.metadata.id;
    let (zone, code) = match zone::find(asker, &labels, query.query_type(), draw) {
        Found::Elsewhere => return false,
        Found::NoName(zone) => (zone, ResponseCode::NXDomain),
        Found::NoRecord(zone) => (zone, ResponseCode::NoError),
        Found::Record(data) => {
            let name = query.name().clone();
            reply.add_answer(Record::from_rdata(name, TTL_S, data));
            return true;
        }
        Found::Records(all) => {
            for data in all {
                let name = query.name().clone();
                reply.add_answer(Record::from_rdata(name, TTL_S, data));
            }
            return true;
        }
    };
    reply.metadata.response_code = code;
    // With it a resolver knows for how long there is nothing (RFC 2308).
    if let Ok(name) = Name::from_ascii(&zone) {
        reply.add_authority(Record::from_rdata(
            name,
            TTL_S,
            RData::SOA(zone::soa(&zone)),
        ));
    }
    true
}

/// How long a reply may be.
fn limit(query: &Message, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => {
            let asked = query.edns.as_ref().map_or(0, Edns::max_payload);
            usize::from(asked.min(PAYLOAD_MAX)).max(UDP_BYTES)
        }
    }
}

/// A message as bytes. One that is too long is cut down to its question and says so.
fn encoded(message: &Message, limit: usize) -> Vec<u8> {
    let fits = |bytes: &Vec<u8>| bytes.len() <= limit;
    let whole = message.to_vec().ok().filter(fits);
    // What was read or made here can be written again.
    whole
        .or_else(|| message.truncate().to_vec().ok())
        .unwrap_or_default()
}

const HEADER_BYTES: usize = 12;
const RESPONSE_FLAG: u8 = 0x80;
/// What every resolver takes in a datagram (RFC 1035, section 4.2.1).
const UDP_BYTES: usize = 512;
/// What this one takes and sends in a datagram at most: no fragment on any path.
const PAYLOAD_MAX: u16 = 1232;
/// How long answers may be kept.
const TTL_S: u32 = 60;

#[cfg(test)]
mod tests;
