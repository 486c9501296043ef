//! What became of the connections of TLS listeners: the rows of access logs.
//!
//! Source: Network Load Balancers, "Access logs", whose fields they have in its order. What is not known is `-`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::id::ListenerId;
use enid_model::load_balancer::AccessLogs;
use enid_model::region::Region;
use enid_model::time::{Clock as _, SystemClock, Timestamp};
use enid_model::uuid::Uuid;
use tokio::time::Instant;
use tokio_rustls::rustls::{CipherSuite, CommonState, Error, ProtocolVersion};

use super::counts::NodePlace;

/// Whose connections are logged, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Logged {
    /// The node.
    pub place: NodePlace,
    /// The load balancer, as AWS has it in dimensions.
    pub path: String,
    /// The bucket and the folder.
    pub logs: AccessLogs,
}

/// What is known of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// How long its handshake took; none that failed.
    handshake_ms: Option<u64>,
    /// The alert that its client sent in its handshake.
    alert: Option<u8>,
    /// The certificate that it got.
    pub(super) certificate: Option<Uuid>,
    /// The server that it named.
    pub(super) domain: Option<String>,
    /// The protocols above TLS that it offered.
    pub(super) offered: Vec<Vec<u8>>,
    cipher: Option<CipherSuite>,
    version: Option<ProtocolVersion>,
    alpn_client: Option<Vec<u8>>,
    /// What was agreed on with the target.
    pub(super) alpn_target: Option<Vec<u8>>,
}

/// A connection that is over.
#[derive(Debug)]
pub struct AccessRecord {
    /// Whose it was.
    pub logged: Arc<Logged>,
    /// When it ended.
    pub ended: Timestamp,
    listener: ListenerId,
    client: SocketAddr,
    node: SocketAddr,
    began: Timestamp,
    lasted_ms: u64,
    received: u64,
    sent: u64,
    facts: Facts,
}

/// Records that wait for whoever writes them down.
#[derive(Debug, Clone, Default)]
pub struct AccessRecords(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<AccessRecord>,
    lost: u64,
}

/// The most records that wait: some 50 MB. AWS writes down what it can as well.
const WAITING_MAX: usize = 100_000;

impl AccessRecords {
    /// What waits, and how many were lost because too many did.
    #[must_use]
    pub fn take(&self) -> (Vec<AccessRecord>, u64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *waiting);
        (waiting.records, waiting.lost)
    }

    fn push(&self, record: AccessRecord) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.records.len() < WAITING_MAX {
            true => waiting.records.push(record),
            false => waiting.lost += 1,
        }
    }
}

/// A connection as it goes on. When it is dropped, whatever ends it, it is told.
pub(super) struct Story {
    pub(super) logged: Arc<Logged>,
    pub(super) records: AccessRecords,
    pub(super) listener: ListenerId,
    pub(super) client: SocketAddr,
    pub(super) node: SocketAddr,
    pub(super) facts: Arc<Mutex<Facts>>,
    /// Bytes of the client's, and of the target's.
    pub(super) carried: [AtomicU64; 2],
    began: (Instant, Timestamp),
}

impl Story {
    pub(super) fn begin(
        logged: Arc<Logged>,
        records: AccessRecords,
        listener: ListenerId,
        (client, node): (SocketAddr, SocketAddr),
    ) -> Self {
        Self {
            logged,
            records,
            listener,
            client,
            node,
            facts: Arc::default(),
            carried: Default::default(),
            began: (Instant::now(), SystemClock.now()),
        }
    }

    /// The handshake with the client has ended.
    pub(super) fn agreed(&self, state: &CommonState) {
        let mut facts = self.facts();
        facts.handshake_ms = Some(self.lasted_ms());
        facts.cipher = state.negotiated_cipher_suite().map(|suite| suite.suite());
        facts.version = state.protocol_version();
        facts.alpn_client = state.alpn_protocol().map(<[u8]>::to_vec);
    }

    /// The handshake with the client has failed.
    pub(super) fn failed(&self, error: &io::Error) {
        let said = error.get_ref().and_then(|error| error.downcast_ref());
        if let Some(Error::AlertReceived(alert)) = said {
            self.facts().alert = Some(u8::from(*alert));
        }
    }

    pub(super) fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lasted_ms(&self) -> u64 {
        u64::try_from(self.began.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let [received, sent] = [0, 1].map(|side: usize| self.carried[side].load(Ordering::Relaxed));
        let facts = std::mem::take(&mut *self.facts());
        self.records.push(AccessRecord {
            logged: Arc::clone(&self.logged),
            ended: SystemClock.now(),
            listener: self.listener,
            client: self.client,
            node: self.node,
            began: self.began.1,
            lasted_ms: self.lasted_ms(),
            received,
            sent,
            facts,
        });
    }
}

impl fmt::Display for AccessRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Logged { place, path, .. } = &*self.logged;
        let Facts {
            handshake_ms,
            alert,
            certificate,
            domain,
            offered,
            cipher,
            version,
            alpn_client,
            alpn_target,
        } = &self.facts;
        let (region, account) = (&place.scope.region, place.scope.account);
        let partition = Region::named(region.as_str()).map_or("aws", Region::partition);
        let arn = |id: &Uuid| format!("arn:{partition}:acm:{region}:{account}:certificate/{id}");
        let alpn = |name: &Option<Vec<u8>>| name.as_deref().map(quoted);
        write!(f, "tls 2.0 {} {path} {} ", time(self.ended), self.listener)?;
        write!(f, "{} {} {} ", self.client, self.node, self.lasted_ms)?;
        write!(
            f,
            "{} {} {} ",
            known(handshake_ms.as_ref()),
            self.received,
            self.sent
        )?;
        write!(f, "{} ", known(alert.as_ref()))?;
        write!(f, "{} - ", known(certificate.as_ref().map(arn)))?;
        write!(f, "{} ", known(cipher.and_then(name_of_cipher)))?;
        write!(f, "{} - ", known(version.and_then(name_of_version)))?;
        write!(f, "{} ", known(domain.as_ref()))?;
        write!(
            f,
            "{} {} ",
            known(alpn(alpn_client)),
            known(alpn(alpn_target))
        )?;
        write!(f, "{} {}", known(list(offered)), time(self.began))
    }
}

fn known<T: fmt::Display>(value: Option<T>) -> Cow<'static, str> {
    value.map_or(Cow::Borrowed("-"), |value| Cow::Owned(value.to_string()))
}

/// A time in seconds, as in these logs: without a zone.
fn time(at: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = at.civil();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// A protocol's name, without what a row would be torn apart by.
fn quoted(name: &[u8]) -> String {
    let mut text = String::new();
    for byte in name {
        // Writing to a string does not fail.
        let _ = match byte {
            b'"' | b'%' | b',' | 0..=b' ' | 0x7f.. => write!(text, "%{byte:02X}"),
            _ => write!(text, "{}", char::from(*byte)),
        };
    }
    text
}

/// The names that a client offered, in quotes, as many as 256 bytes hold.
fn list(names: &[Vec<u8>]) -> Option<String> {
    let mut text = String::new();
    for name in names {
        let next = format!(
            "{}\"{}\"",
            if text.is_empty() { "" } else { "," },
            quoted(name)
        );
        if text.len() + next.len() > 256 {
            break;
        }
        text.push_str(&next);
    }
    (!text.is_empty()).then_some(text)
}

/// OpenSSL's name of a cipher.
const fn name_of_cipher(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        _ => return None,
    })
}

const fn name_of_version(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("tlsv12"),
        ProtocolVersion::TLSv1_3 => Some("tlsv13"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use enid_model::id::LoadBalancerId;
    use enid_model::key::{AccountId, RegionName, Scope};

    use super::*;

    fn record(facts: Facts) -> AccessRecord {
        let scope = Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("us-east-2"),
        };
        let place = NodePlace {
            scope,
            balancer: LoadBalancerId(7),
            zone: "us-east-2a".to_owned(),
        };
        AccessRecord {
            logged: Arc::new(Logged {
                place,
                path: "net/web/c6e77e28c25b2234".to_owned(),
                logs: AccessLogs::default(),
            }),
            // 2018-12-20T02:59:40.
            ended: Timestamp(1_545_274_780_900),
            listener: ListenerId(0xabc),
            client: "72.21.218.154:51341".parse().expect("an address"),
            node: "[2001:db8::4]:443".parse().expect("an address"),
            began: Timestamp(1_545_274_770_000),
            lasted_ms: 10_900,
            received: 98,
            sent: 246,
            facts,
        }
    }

    #[test]
    fn a_row_has_all_fields_and_a_dash_for_what_is_not_known() {
        let start = "tls 2.0 2018-12-20T02:59:40 net/web/c6e77e28c25b2234 0000000000000abc \
                     72.21.218.154:51341 [2001:db8::4]:443 10900";
        let failed = Facts {
            alert: Some(48),
            ..Facts::default()
        };
        let wanted = format!("{start} - 98 246 48 - - - - - - - - - 2018-12-20T02:59:30");
        assert_eq!(record(failed).to_string(), wanted);
        let whole = Facts {
            handshake_ms: Some(2),
            alert: None,
            certificate: Some(Uuid::from_random(1, 1)),
            domain: Some("example.com".to_owned()),
            offered: vec![b"h2".to_vec(), b"a \"b,".to_vec()],
            cipher: Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
            version: Some(ProtocolVersion::TLSv1_2),
            alpn_client: Some(b"h2".to_vec()),
            alpn_target: None,
        };
        let id = Uuid::from_random(1, 1);
        let wanted = format!(
            "{start} 2 98 246 - arn:aws:acm:us-east-2:123456789012:certificate/{id} - \
             ECDHE-RSA-AES128-GCM-SHA256 tlsv12 - example.com h2 - \"h2\",\"a%20%22b%2C\" \
             2018-12-20T02:59:30"
        );
        let row = record(whole).to_string();
        assert_eq!(row, wanted);
        assert_eq!(row.split(' ').count(), 22);
    }

    #[test]
    fn a_list_ends_where_it_is_too_long() {
        assert_eq!(list(&[]), None);
        let many = vec![vec![b'x'; 100]; 5];
        assert_eq!(list(&many).map(|list| list.len()), Some(2 * 102 + 1));
    }
}
