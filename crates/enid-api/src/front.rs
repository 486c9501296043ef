//! From a whole HTTP request to a whole HTTP response.

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

use crate::context::{Context, RequestId, RequestIds};
use crate::ec2::Ec2;
use crate::error::ApiError;
use crate::policy::authorize;
use crate::policy::request::{Origin, Permissions};
use crate::sigv4::{self, AuthError, Keys, Signed, SigningKeys};
use crate::sts::Sts;
use crate::throttle::Throttle;
use crate::wire::envelope::Dialect;
use crate::wire::form::{Form, parse_form};
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
    sts: Sts,
    signing_keys: SigningKeys,
    request_ids: RequestIds,
    throttle: Option<Throttle>,
}

/// A service of AWS that Enid has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Ec2,
    Sts,
}

impl Service {
    fn named(name: &str) -> Option<Self> {
        match name {
            "ec2" => Some(Self::Ec2),
            "sts" => Some(Self::Sts),
            _ => None,
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Ec2 => "2016-11-15",
            Self::Sts => "2011-06-15",
        }
    }

    /// What the service calls itself in messages.
    fn title(self) -> &'static str {
        match self {
            Self::Ec2 => "AmazonEC2",
            Self::Sts => "AWSSecurityTokenService",
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Ec2 => Dialect::Ec2,
            Self::Sts => Dialect::Query {
                namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
            },
        }
    }
}

/// An error, and the protocol to say it in.
struct Refusal {
    dialect: Dialect,
    error: ApiError,
}

static REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
static DATAPATH: HeaderName = HeaderName::from_static("x-enid-datapath");

impl FrontDoor {
    /// A front door before these services.
    #[must_use]
    pub fn new(config: Config, ec2: Ec2, sts: Sts) -> Self {
        let request_ids = RequestIds::new(config.request_id_seed);
        Self {
            config,
            ec2,
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

    /// Answers a request. Its extensions may hold the client's address, a [`SocketAddr`], for
    /// policies that ask for it.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let request_id = self.request_ids.next();
        let (parts, body) = request.into_parts();
        if let Some(path) = parts.uri.path().strip_prefix("/_enid/") {
            let response = self.admin(&parts, path, &body).await;
            return self.respond(
                request_id,
                response.status,
                response.content_type,
                response.body,
            );
        }
        match self.api(&parts, &body, request_id).await {
            Ok((dialect, document)) => self.respond(
                request_id,
                StatusCode::OK,
                dialect.content_type(),
                Bytes::from(document),
            ),
            Err(refusal) => self.refuse(request_id, &refusal),
        }
    }

    /// The answer to a request that could not be received whole.
    pub fn unreadable(&self, error: ApiError) -> Response<Bytes> {
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
    ) -> Result<(Dialect, String), Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let signed = Signed {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query,
            headers: &parts.headers,
        };
        let claim = sigv4::claim(&signed);
        let (service, dialect) = match &claim {
            Some(Ok(claim)) => match Service::named(&claim.service) {
                Some(service) => (service, service.dialect()),
                None => {
                    let dialect = other_dialect(parts);
                    let error = ApiError::service_not_implemented(&claim.service);
                    return Err(Refusal { dialect, error });
                }
            },
            _ => {
                let service = guess(query.as_bytes(), body);
                (service, service.dialect())
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
        let form = form(parts, query.as_bytes(), body).map_err(refuse)?;
        let document = self
            .operation(service, context, form)
            .await
            .map_err(refuse)?;
        Ok((dialect, document))
    }

    async fn operation(
        &self,
        service: Service,
        mut context: Context,
        mut form: Form<'_>,
    ) -> Result<String, ApiError> {
        let action = form
            .take("Action")
            .ok_or_else(|| ApiError::missing_parameter("Action"))?;
        let version = form
            .take("Version")
            .ok_or_else(|| ApiError::missing_parameter("Version"))?;
        if version != service.version() {
            return Err(no_such_version(service, &version));
        }
        let id = context.request_id.to_string();
        let dialect = service.dialect();
        match service {
            Service::Ec2 => {
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
                tracing::debug!(
                    operation,
                    request_id = %id,
                    account = %context.account,
                    region = context.region.name,
                    "answered"
                );
                Ok(dialect.success(operation, &response, &id))
            }
            Service::Sts => {
                let request = generated::sts::operations::Request::parse(&action, form.params())?;
                let operation = request.operation();
                // Whoever has a key may know whose it is, even against an explicit deny.
                if operation != "GetCallerIdentity"
                    && let Some(permissions) = &context.permissions
                {
                    authorize::elsewhere(permissions, "sts", operation)?;
                }
                let response = self.sts.call(&context, request)?;
                Ok(dialect.success(operation, &response, &id))
            }
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

    fn refuse(&self, request_id: RequestId, refusal: &Refusal) -> Response<Bytes> {
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
        self.respond(
            request_id,
            status,
            dialect.content_type(),
            Bytes::from(document),
        )
    }

    fn respond(
        &self,
        request_id: RequestId,
        status: StatusCode,
        content_type: &'static str,
        body: Bytes,
    ) -> Response<Bytes> {
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

/// The parameters: from the query string, from the body, or from both.
fn form<'a>(parts: &Parts, query: &'a [u8], body: &'a [u8]) -> Result<Form<'a>, ApiError> {
    if parts.uri.path() != "/" {
        return Err(ApiError::new(
            "InvalidRequest",
            404,
            "There is nothing at this path.".into(),
        ));
    }
    let mut form = match parts.method {
        Method::GET => parse_form(query)?,
        Method::POST => {
            let mut form = parse_form(body)?;
            if !query.is_empty() {
                form.extend(query)?;
            }
            form
        }
        _ => {
            return Err(ApiError::new(
                "InvalidRequest",
                405,
                "Only GET and POST are known.".into(),
            ));
        }
    };
    form.drop_if(|name| PRESIGNED.contains(&name));
    Ok(form)
}

/// The parameters by which a request is presigned.
const PRESIGNED: &[&str] = &[
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

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
fn guess(query: &[u8], body: &[u8]) -> Service {
    let wanted: &[u8] = b"Version=2011-06-15";
    let asks = |text: &[u8]| text.split(|byte| *byte == b'&').any(|pair| pair == wanted);
    if asks(query) || asks(body) {
        Service::Sts
    } else {
        Service::Ec2
    }
}

/// The form in which a client of a service that Enid lacks can read an error.
fn other_dialect(parts: &Parts) -> Dialect {
    if parts.headers.contains_key("x-amz-target") {
        Dialect::Json
    } else {
        Dialect::Query {
            namespace: "https://enid.invalid/",
        }
    }
}
