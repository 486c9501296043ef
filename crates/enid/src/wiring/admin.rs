//! The daemon's own interface below `/_enid/`.

use std::sync::Arc;
use std::time::Duration;

use enid_advise::explain::{End, Question, explain};
use enid_api::front::{Admin, AdminFuture, AdminRequest, AdminResponse};
use enid_control::PublicPools;
use enid_store::Store;
use enid_telemetry::source::exposition;
use hyper::StatusCode;
use serde::Serialize;

use crate::cmd::check::Checked;
use crate::cmd::doctor::telemetry::Kept;
use crate::cmd::flows::Balancers;
use crate::cmd::verify::Verified;
use crate::wiring::host::{Host, Inquiry};
use crate::wiring::metrics::Meters;
use crate::wiring::telemetry::Telemetry;

/// How long a reset may take to end what runs on the host.
const RESET_PATIENCE: Duration = Duration::from_secs(20);

/// What answers below `/_enid/`.
pub(crate) struct Administration {
    store: Store,
    telemetry: Telemetry,
    meters: Arc<Meters>,
    host: Option<Inquiry>,
    ephemeral: bool,
    pools: enid_plan::PublicPools,
}

impl Administration {
    pub(crate) fn new(
        store: &Store,
        telemetry: &Telemetry,
        meters: &Arc<Meters>,
        host: Option<&Host>,
        pools: &PublicPools,
        ephemeral: bool,
    ) -> Self {
        Self {
            pools: enid_plan::PublicPools {
                ipv4: pools.ipv4,
                ipv6: pools.ipv6,
            },
            store: store.clone(),
            telemetry: telemetry.clone(),
            meters: Arc::clone(meters),
            host: host.map(Host::inquiry),
            ephemeral,
        }
    }

    async fn route(&self, method: &str, path: &str, query: &str) -> Option<AdminResponse> {
        Some(match (method, path) {
            ("GET", "check") => self.check().await,
            ("GET", "explain") => self.explain(query),
            ("GET", "load-balancers") => answer(&Balancers::of(&self.store.state())),
            ("GET", "metrics") => self.metrics().await,
            ("GET", "verify") => self.verify().await,
            ("GET", "telemetry") => answer(&Kept::from(self.telemetry.store.stats())),
            ("POST", "reset") => self.reset().await,
            ("GET", path) => return self.certificate(path.strip_prefix("sns/")?).await,
            _ => return None,
        })
    }

    /// The certificate of the key that messages are signed with.
    async fn certificate(&self, name: &str) -> Option<AdminResponse> {
        match self.telemetry.notify.certificate(name).await {
            Ok(certificate) => Some(AdminResponse {
                status: StatusCode::OK,
                content_type: "application/x-pem-file",
                body: certificate?.into(),
            }),
            Err(error) => {
                let words = format!("no key to sign with: {error}");
                Some(refusal(StatusCode::INTERNAL_SERVER_ERROR, words))
            }
        }
    }

    /// Holds everything that is stored against what must be true of it.
    async fn check(&self) -> AdminResponse {
        let state = self.store.state();
        // Seconds of work in a large region, so on a thread that nobody waits for.
        let checked = tokio::task::spawn_blocking(move || Checked::of(&state)).await;
        match checked {
            Ok(checked) => answer(&checked),
            Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    /// What this host observes, for Prometheus.
    async fn metrics(&self) -> AdminResponse {
        let meters = Arc::clone(&self.meters);
        match tokio::task::spawn_blocking(move || meters.expose()).await {
            Ok(text) => AdminResponse {
                status: StatusCode::OK,
                content_type: exposition::CONTENT_TYPE,
                body: text.into(),
            },
            Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    fn explain(&self, query: &str) -> AdminResponse {
        let question = match parse_question(query) {
            Ok(question) => question,
            Err(words) => return refusal(StatusCode::BAD_REQUEST, words),
        };
        match explain(&self.store.state(), &self.pools, &question) {
            Ok(explanation) => answer(&explanation),
            Err(error) => refusal(StatusCode::NOT_FOUND, error.to_string()),
        }
    }

    async fn verify(&self) -> AdminResponse {
        let Some(host) = self.host.clone() else {
            let words = "no datapath: there is nothing in the kernel to compare with";
            return refusal(StatusCode::CONFLICT, words.to_owned());
        };
        let compared = tokio::task::spawn_blocking(move || host.verify()).await;
        match compared.ok().flatten() {
            Some(found) => answer(&Verified {
                agree: found.differences.is_empty(),
                differences: found.differences,
                entries: found.entries,
                devices: found.devices,
            }),
            None => refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "the agent is gone".to_owned(),
            ),
        }
    }

    /// Forgets everything; the answer implies that the kernel has as well, of all that there was.
    async fn reset(&self) -> AdminResponse {
        if !self.ephemeral {
            let words = "reset exists only under enid serve --ephemeral";
            return refusal(StatusCode::FORBIDDEN, words.to_owned());
        }
        // After the region's state, so that nothing is logged to a group that is still there.
        let reset = self.store.reset().await;
        let (telemetry, meters) = (self.telemetry.clone(), Arc::clone(&self.meters));
        let forget = move || {
            meters.clear();
            telemetry.reset()
        };
        let forgotten = tokio::task::spawn_blocking(forget).await;
        if !matches!(forgotten, Ok(Ok(()))) {
            let words = "the telemetry was not forgotten";
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, words.to_owned());
        }
        match reset {
            Ok(revision) => {
                let hosts = self.store.hosts();
                // What other clients have launched since stays.
                let is_new = |id| {
                    let state = self.store.state();
                    let mut regions = state.regions().values();
                    regions.any(|region| region.instances.contains_key(&id))
                };
                let gone = async {
                    hosts.obeyed(revision).await;
                    hosts.others_gone(is_new).await;
                };
                match tokio::time::timeout(RESET_PATIENCE, gone).await {
                    Ok(()) => answer(&serde_json::json!({ "reset": true })),
                    Err(_elapsed) => {
                        let words = "forgotten, but the host still ends instances";
                        refusal(StatusCode::INTERNAL_SERVER_ERROR, words.to_owned())
                    }
                }
            }
            Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl Admin for Administration {
    fn answer<'a>(&'a self, request: AdminRequest<'a>) -> AdminFuture<'a> {
        Box::pin(self.route(request.method.as_str(), request.path, request.query))
    }
}

fn parse_question(query: &str) -> Result<Question, String> {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found
            .map(|(_, value)| value)
            .ok_or_else(|| format!("the query lacks {name}"))
    };
    let end = |name| {
        value(name)?
            .parse::<End>()
            .map_err(|error| error.to_string())
    };
    let number = |name: &str| {
        let text = value(name)?;
        text.parse::<u16>()
            .map_err(|_not_a_number| format!("{name} is no number to 65535"))
    };
    let protocol = number("protocol")?;
    Ok(Question {
        from: end("from")?,
        to: end("to")?,
        protocol: u8::try_from(protocol).map_err(|_too_large| "protocol is at most 255")?,
        port: number("port")?,
    })
}

fn answer<T: Serialize>(value: &T) -> AdminResponse {
    respond(StatusCode::OK, value)
}

fn refusal(status: StatusCode, words: String) -> AdminResponse {
    respond(status, &serde_json::json!({ "error": words }))
}

fn respond<T: Serialize>(status: StatusCode, value: &T) -> AdminResponse {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
    };
    AdminResponse {
        status,
        content_type: "application/json",
        body: body.into(),
    }
}
