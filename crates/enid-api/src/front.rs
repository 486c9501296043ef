//! From a whole HTTP request to a whole HTTP response.

mod body;
mod service;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use enid_model::state::RegionState;
use enid_model::time::Clock;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use self::body::{Body, decode, read_form, unpacked};
use self::service::{RequestForm, Service};
use crate::acm::Acm;
use crate::context::{Context, RequestId, RequestIds};
use crate::ec2::Ec2;
use crate::elbv2::Elbv2;
use crate::error::ApiError;
use crate::logs::Logs;
use crate::monitoring::Monitoring;
use crate::policy::authorize;
use crate::policy::elsewhere::Asked;
use crate::policy::request::{Origin, Permissions};
use crate::reply::Reply;
use crate::sigv4::{self, AuthError, Keys, Signed, SigningKeys};
use crate::sns::Sns;
use crate::sns::visit::Visit;
use crate::sts::Sts;
use crate::throttle::Throttle;
use crate::wire::envelope::{Dialect, Document, JsonVersion};
use crate::wire::event_stream::{self, EventStream};
use crate::wire::form::Form;
use crate::wire::input::Input;
use crate::{generated, origin};

/// What the front door needs to know.
pub struct Config {
    /// The access keys.
    pub keys: Arc<dyn Keys>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What answers below `/_enid/`.
    pub admin: Arc<dyn Admin>,
    /// Whether packets obey the API. If not, every answer says so in a header.
    pub enforced: bool,
    /// What request ids are made from: random, so that two runs differ.
    pub request_id_seed: u64,
}

/// Enid's own interface below `/_enid/`; `/_enid/health` is answered here.
pub trait Admin: Send + Sync {
    /// Answers a request; `None` if there is nothing at this path.
    fn answer<'a>(&'a self, request: AdminRequest<'a>) -> AdminFuture<'a>;
}

/// An answer in the making.
pub type AdminFuture<'a> = Pin<Box<dyn Future<Output = Option<AdminResponse>> + Send + 'a>>;

/// A request below `/_enid/`.
#[derive(Clone, Copy, Debug)]
pub struct AdminRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// What follows `/_enid/`.
    pub path: &'a str,
    /// The query string.
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// The answer to one.
#[derive(Clone, Debug)]
pub struct AdminResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// Such as `application/json`.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// An [`Admin`] with nothing in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAdmin;

impl Admin for NoAdmin {
    fn answer<'a>(&'a self, _request: AdminRequest<'a>) -> AdminFuture<'a> {
        Box::pin(async { None })
    }
}

/// The front door.
pub struct FrontDoor {
    config: Config,
    ec2: Ec2,
    elbv2: Option<Elbv2>,
    acm: Option<Acm>,
    logs: Option<Logs>,
    monitoring: Option<Monitoring>,
    sns: Option<Sns>,
    sts: Sts,
    signing_keys: SigningKeys,
    request_ids: RequestIds,
    throttle: Option<Throttle>,
}

/// What is told of a success.
enum Told {
    Document(Vec<u8>),
    Events(EventStream),
}

/// What follows `/_enid/`. Prometheus looks for metrics at the root.
fn own_path(path: &str) -> Option<&str> {
    match path {
        "/metrics" => Some("metrics"),
        _ => path.strip_prefix("/_enid/"),
    }
}

/// An error, and the protocol to say it in.
struct Refusal {
    dialect: Dialect,
    error: ApiError,
}

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
static DATAPATH: HeaderName = HeaderName::from_static("x-enid-datapath");
static QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
static SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");

impl FrontDoor {
    /// A front door before these services.
    #[must_use]
    pub fn new(config: Config, ec2: Ec2, sts: Sts) -> Self {
        let request_ids = RequestIds::new(config.request_id_seed);
        Self {
            config,
            ec2,
            elbv2: None,
            acm: None,
            logs: None,
            monitoring: None,
            sns: None,
            sts,
            signing_keys: SigningKeys::default(),
            request_ids,
            throttle: None,
        }
    }

    /// The same, with as many requests of EC2 as AWS would answer.
    #[must_use]
    pub fn with_throttle(self, throttle: Throttle) -> Self {
        Self {
            throttle: Some(throttle),
            ..self
        }
    }

    /// The same with Elastic Load Balancing.
    #[must_use]
    pub fn with_elbv2(self, elbv2: Elbv2) -> Self {
        Self {
            elbv2: Some(elbv2),
            ..self
        }
    }

    /// The same with CloudWatch.
    #[must_use]
    pub fn with_monitoring(self, monitoring: Monitoring) -> Self {
        Self {
            monitoring: Some(monitoring),
            ..self
        }
    }

    /// The same with CloudWatch Logs.
    #[must_use]
    pub fn with_logs(self, logs: Logs) -> Self {
        Self {
            logs: Some(logs),
            ..self
        }
    }

    /// The same with ACM.
    #[must_use]
    pub fn with_acm(self, acm: Acm) -> Self {
        Self {
            acm: Some(acm),
            ..self
        }
    }

    /// The same with SNS.
    #[must_use]
    pub fn with_sns(self, sns: Sns) -> Self {
        Self {
            sns: Some(sns),
            ..self
        }
    }

    /// Answers a request. Its extensions may hold the client's address, a [`SocketAddr`], for
    /// policies that ask for it.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Reply> {
        let request_id = self.request_ids.next();
        let (parts, body) = request.into_parts();
        if let Some(path) = own_path(parts.uri.path()) {
            let response = self.admin(&parts, path, &body).await;
            return self.respond(
                request_id,
                response.status,
                response.content_type,
                Reply::whole(response.body),
            );
        }
        match self.api(&parts, &body, request_id).await {
            Ok((dialect, Told::Document(document))) => {
                self.tell(request_id, StatusCode::OK, dialect, document, None)
            }
            Ok((_, Told::Events(events))) => {
                let body = match events.take() {
                    Some(events) => Reply::stream(events),
                    None => Reply::whole(Bytes::new()),
                };
                self.respond(request_id, StatusCode::OK, event_stream::CONTENT_TYPE, body)
            }
            Err(refusal) => self.refuse(request_id, &refusal),
        }
    }

    /// The answer to a request that could not be received whole.
    pub fn unreadable(&self, error: ApiError) -> Response<Reply> {
        self.refuse(
            self.request_ids.next(),
            &Refusal {
                dialect: Dialect::Ec2,
                error,
            },
        )
    }

    async fn api(
        &self,
        parts: &Parts,
        body: &[u8],
        request_id: RequestId,
    ) -> Result<(Dialect, Told), Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let signed = Signed {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query,
            headers: &parts.headers,
        };
        let claim = sigv4::claim(&signed);
        let form = RequestForm::of(parts);
        let query_mode = parts.headers.contains_key("x-amzn-query-mode");
        if claim.is_none()
            && let Some(sns) = &self.sns
            && let Some(visit) = visit(parts, query.as_bytes(), body)
        {
            let (dialect, document) = self.visited(sns, &visit, request_id).await?;
            return Ok((dialect, Told::Document(document)));
        }
        let (service, dialect) = match &claim {
            Some(Ok(claim)) => match Service::named(&claim.service) {
                Some(service) => (service, service.dialect(form, query_mode)),
                None => {
                    let dialect = other_dialect(form);
                    let error = ApiError::service_not_implemented(&claim.service);
                    return Err(Refusal { dialect, error });
                }
            },
            _ => {
                let service = guess(parts, query.as_bytes(), body);
                (service, service.dialect(form, query_mode))
            }
        };
        let refuse = |error: ApiError| Refusal { dialect, error };
        let claim = claim
            .unwrap_or(Err(AuthError::Missing))
            .map_err(|error| refuse(error.into_api(dialect)))?;
        let now = self.config.clock.now();
        let keys = &*self.config.keys;
        let caller = sigv4::verify(&claim, signed, body, now, keys, &self.signing_keys)
            .map_err(|error| refuse(error.into_api(dialect)))?;
        let permissions = caller.policy.map(|policy| {
            let (id, account, region) = (&caller.access_key_id, caller.account, caller.region);
            let origin = policy_origin(parts);
            Arc::new(Permissions::new(policy, id, account, region, now, &origin))
        });
        let context = Context {
            account: caller.account,
            permissions,
            region: caller.region,
            access_key_id: caller.access_key_id,
            request_id,
            dry_run: false,
            asked: None,
        };
        let body = unpacked(parts, body).map_err(refuse)?;
        let body = decode(service, form, parts, query.as_bytes(), &body).map_err(refuse)?;
        let told = match service {
            Service::Ec2 => self.ec2(context, body).await.map(Told::Document),
            _ => self.document(service, dialect, context, body).await,
        };
        Ok((dialect, told.map_err(refuse)?))
    }

    /// What a link in a message asks for: the one kind of request that is not signed.
    async fn visited(
        &self,
        sns: &Sns,
        visit: &Visit,
        request_id: RequestId,
    ) -> Result<(Dialect, Vec<u8>), Refusal> {
        let dialect = Service::Sns.dialect(RequestForm::Query, false);
        let response = sns.visit(visit).await;
        let response = response.map_err(|error| Refusal { dialect, error })?;
        let operation = visit.operation();
        tracing::debug!(operation, %request_id, "answered without a signature");
        let void = generated::sns::operations::VOID.contains(&operation);
        let id = request_id.to_string();
        Ok((dialect, dialect.success(operation, &response, void, &id)))
    }

    /// An operation of EC2.
    async fn ec2(&self, mut context: Context, body: Body<'_>) -> Result<Vec<u8>, ApiError> {
        let Body::Form(mut form) = body else {
            return Err(ApiError::unknown_operation());
        };
        let action = action(Service::Ec2, &mut form)?;
        context.dry_run = dry_run(&mut form)?;
        context.asked = form.asked(CLIENT_TOKEN);
        let request = generated::ec2::operations::Request::parse(&action, form.params())?;
        let operation = request.operation();
        if let Some(throttle) = &self.throttle {
            let now = self.config.clock.now();
            throttle.take(&context, operation, form.params(), now)?;
        }
        if let Some(permissions) = &context.permissions {
            let region = self.known(&context, operation).await?;
            let params = form.params();
            authorize::ec2(permissions, &context, operation, params, &region)?;
        }
        let response = self.ec2.call(&context, request).await?;
        // One that changes something ends with this error before it does.
        if context.dry_run {
            return Err(ApiError::dry_run());
        }
        answered(&context, operation);
        let id = context.request_id.to_string();
        Ok(Dialect::ec2_success(operation, &response, &id).into_bytes())
    }

    /// An operation of any other service: its requests and answers are the same in all protocols.
    async fn document(
        &self,
        service: Service,
        dialect: Dialect,
        context: Context,
        body: Body<'_>,
    ) -> Result<Told, ApiError> {
        let form;
        let words = service.words();
        let (action, input) = match body {
            Body::Document(operation, value) => (operation, Input::document(value, words)),
            Body::Form(mut read) => {
                let action = action(service, &mut read)?;
                form = read;
                (action, Input::form(form.params(), words))
            }
        };
        let id = context.request_id.to_string();
        let allowed = |operation: &str, asked: Asked| {
            let prefix = service.action_prefix();
            match &context.permissions {
                None => Ok(()),
                Some(permissions) => {
                    let allowed =
                        authorize::elsewhere(permissions, prefix, operation, &asked, dialect);
                    // SNS has a code of its own for it.
                    allowed.map_err(|error| match service {
                        Service::Sns => error.with_code("AuthorizationError"),
                        _ => error,
                    })
                }
            }
        };
        macro_rules! answer {
            ($generated:ident, $request:ident, $asked:expr, $call:expr) => {{
                use generated::$generated::operations;
                let $request = operations::Request::parse(&action, input)?;
                let operation = $request.operation();
                if let Some(asked) = $asked {
                    allowed(operation, asked)?;
                }
                let response: operations::Response = $call?;
                answered(&context, operation);
                let void = operations::VOID.contains(&operation);
                Ok(Told::Document(
                    dialect.success(operation, &response, void, &id),
                ))
            }};
        }
        match service {
            Service::Ec2 => Err(ApiError::unknown_operation()),
            Service::Elbv2 => {
                let elbv2 = self.elbv2.as_ref();
                let elbv2 = elbv2
                    .ok_or_else(|| ApiError::service_not_implemented("elasticloadbalancing"))?;
                answer!(
                    elbv2,
                    request,
                    Some(elbv2.asked(&context, &request)),
                    elbv2.call(&context, request).await
                )
            }
            Service::Logs => {
                let logs = self.logs.as_ref();
                let logs = logs.ok_or_else(|| ApiError::service_not_implemented("logs"))?;
                let mut events = None;
                let told = answer!(
                    logs,
                    request,
                    Some(logs.asked(&context, &request)),
                    logs.call(&context, request).await.inspect(|response| {
                        if let operations::Response::StartLiveTail(response) = response {
                            events = Some(response.response_stream.clone());
                        }
                    })
                );
                match events {
                    Some(events) => Ok(Told::Events(events)),
                    None => told,
                }
            }
            Service::Monitoring => {
                let monitoring = self.monitoring.as_ref();
                let monitoring =
                    monitoring.ok_or_else(|| ApiError::service_not_implemented("monitoring"))?;
                answer!(
                    cloudwatch,
                    request,
                    Some(monitoring.asked(&context, &request)),
                    monitoring.call(&context, request).await
                )
            }
            Service::Acm => {
                let acm = self.acm.as_ref();
                let acm = acm.ok_or_else(|| ApiError::service_not_implemented("acm"))?;
                answer!(
                    acm,
                    request,
                    Some(acm.asked(&context, &request)),
                    acm.call(&context, request).await
                )
            }
            Service::Sns => {
                let sns = self.sns.as_ref();
                let sns = sns.ok_or_else(|| ApiError::service_not_implemented("sns"))?;
                answer!(
                    sns,
                    request,
                    Some(sns.asked(&context, &request)),
                    sns.call(&context, request).await
                )
            }
            // Whoever has a key may know whose it is, even against an explicit deny.
            Service::Sts => answer!(
                sts,
                request,
                None::<Asked>,
                self.sts.call(&context, request)
            ),
        }
    }

    /// The region as a policy may ask about it. A request that may be refused does not bring it to
    /// life; only where a launch would end up cannot be told otherwise.
    async fn known(
        &self,
        context: &Context,
        operation: &str,
    ) -> Result<Arc<RegionState>, ApiError> {
        let (control, caller) = (self.ec2.control(), context.caller());
        if operation == "RunInstances" {
            return Ok(control.read(&caller).await?);
        }
        let state = control.store().state();
        Ok(state.region(&caller.scope()).cloned().unwrap_or_default())
    }

    async fn admin(&self, parts: &Parts, path: &str, body: &[u8]) -> AdminResponse {
        let plain = |status: StatusCode, body: &'static str| AdminResponse {
            status,
            content_type: "application/json",
            body: Bytes::from_static(body.as_bytes()),
        };
        if !origin::is_local(&parts.headers) {
            return plain(
                StatusCode::FORBIDDEN,
                "{\"error\":\"not from another site\"}\n",
            );
        }
        if path == "health" && matches!(parts.method, Method::GET | Method::HEAD) {
            return plain(StatusCode::OK, "{\"status\":\"ready\"}\n");
        }
        let query = parts.uri.query().unwrap_or_default();
        let request = AdminRequest {
            method: &parts.method,
            path,
            query,
            body,
        };
        match self.config.admin.answer(request).await {
            Some(response) => response,
            None => plain(StatusCode::NOT_FOUND, "{\"error\":\"nothing here\"}\n"),
        }
    }

    fn refuse(&self, request_id: RequestId, refusal: &Refusal) -> Response<Reply> {
        let Refusal { dialect, error } = refusal;
        if error.status() >= 500 && error.code() != "RequestLimitExceeded" {
            tracing::error!(
                %request_id,
                code = error.code(),
                cause = ?error.cause(),
                "failed"
            );
        } else {
            tracing::debug!(%request_id, code = error.code(), "refused");
        }
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let document = dialect.error(error, &request_id.to_string());
        self.tell(request_id, status, *dialect, document, Some(error))
    }

    /// A response in a protocol, with the headers that it has beyond those of every response.
    fn tell(
        &self,
        request_id: RequestId,
        status: StatusCode,
        dialect: Dialect,
        document: Vec<u8>,
        error: Option<&ApiError>,
    ) -> Response<Reply> {
        let content_type = dialect.content_type();
        let body = Reply::whole(Bytes::from(document));
        let mut response = self.respond(request_id, status, content_type, body);
        let headers = response.headers_mut();
        if let Dialect::Cbor(_) = dialect {
            headers.insert(&SMITHY_PROTOCOL, HeaderValue::from_static("rpc-v2-cbor"));
        }
        let told = error.and_then(|error| dialect.query_error(error));
        if let Some(told) = told.and_then(|told| HeaderValue::try_from(told).ok()) {
            headers.insert(&QUERY_ERROR, told);
        }
        response
    }

    fn respond(
        &self,
        request_id: RequestId,
        status: StatusCode,
        content_type: &'static str,
        body: Reply,
    ) -> Response<Reply> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
            headers.insert(&REQUEST_ID, id);
        }
        if !self.config.enforced {
            headers.insert(&DATAPATH, HeaderValue::from_static("none"));
        }
        response
    }
}

/// What policies may ask of where a request comes from.
fn policy_origin(parts: &Parts) -> Origin<'_> {
    let peer = parts.extensions.get::<SocketAddr>();
    let user_agent = parts.headers.get(USER_AGENT);
    Origin {
        address: peer.map(|peer| peer.ip().to_canonical()),
        user_agent: user_agent.and_then(|value| value.to_str().ok()),
        is_secure: false,
    }
}

/// What a link in a message asks for, if the request is one.
fn visit(parts: &Parts, query: &[u8], body: &[u8]) -> Option<Visit> {
    Visit::read(read_form(parts, query, body).ok()?)
}

/// The operation of a form.
fn action(service: Service, form: &mut Form<'_>) -> Result<String, ApiError> {
    let action = form.take("Action");
    let action = action.ok_or_else(|| ApiError::missing_parameter("Action"))?;
    let version = form.take("Version");
    let version = version.ok_or_else(|| ApiError::missing_parameter("Version"))?;
    if version != service.version() {
        return Err(no_such_version(service, &version));
    }
    Ok(action.into_owned())
}

fn answered(context: &Context, operation: &str) {
    tracing::debug!(
        operation,
        request_id = %context.request_id,
        account = %context.account,
        region = context.region.name,
        "answered"
    );
}

/// The parameter by which a client repeats a call. What else it says must then be the same.
const CLIENT_TOKEN: &str = "ClientToken";

/// `DryRun` belongs to every operation of EC2, so that it is read once, here.
fn dry_run(form: &mut Form<'_>) -> Result<bool, ApiError> {
    match form.take("DryRun").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(ApiError::invalid_parameter_value(other, "DryRun", "")),
    }
}

fn no_such_version(service: Service, version: &str) -> ApiError {
    let short: String = version.chars().take(32).collect();
    let message = format!(
        "The requested version ({short}) of service {} does not exist",
        service.title()
    );
    ApiError::new("NoSuchVersion", 400, message)
}

/// Which service a request without a readable claim is for: only the form of the error depends
/// on it.
fn guess(parts: &Parts, query: &[u8], body: &[u8]) -> Service {
    let target = parts.headers.get("x-amz-target");
    let target = target.map_or_else(|| parts.uri.path().as_bytes(), HeaderValue::as_bytes);
    let names = |service: &Service| {
        let name = service.target().unwrap_or_default().as_bytes();
        target.windows(name.len().max(1)).any(|part| part == name)
    };
    if let Some(service) = [Service::Acm, Service::Logs, Service::Monitoring]
        .into_iter()
        .find(names)
    {
        return service;
    }
    let asks = |service: &Service| {
        let wanted = format!("Version={}", service.version());
        let has = |text: &[u8]| {
            text.split(|byte| *byte == b'&')
                .any(|pair| pair == wanted.as_bytes())
        };
        has(query) || has(body)
    };
    let services = [
        Service::Sts,
        Service::Monitoring,
        Service::Sns,
        Service::Elbv2,
    ];
    services.into_iter().find(asks).unwrap_or(Service::Ec2)
}

/// The form in which a client of a service that Enid lacks can read an error.
fn other_dialect(form: RequestForm) -> Dialect {
    match form {
        RequestForm::Cbor => Dialect::Cbor(Document::default()),
        RequestForm::Json => Dialect::Json(JsonVersion::V1_1, Document::default()),
        RequestForm::Query => Dialect::Query {
            namespace: "https://enid.invalid/",
        },
    }
}
