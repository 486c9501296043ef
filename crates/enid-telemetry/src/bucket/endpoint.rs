//! S3 endpoints: the buckets that are not directories of this machine.
//!
//! Which endpoint a bucket is at is configured. A file is put whole, under a key that says what it tells of:
//! one that is put again replaces itself.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::client::HttpError;
use object_store::path::Path;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Object;

/// An S3 endpoint.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it is: `http://` or `https://`, a host, and a port if it is not the usual one.
    pub url: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Which buckets are there: names, or beginnings of names with a `*` behind them.
    pub buckets: Vec<String>,
    /// Whose requests these are.
    pub access_key_id: String,
    /// What they are signed with.
    pub secret_access_key: String,
    /// Certificates that are trusted beside those of the system, in PEM.
    pub certificates: Vec<u8>,
}

impl Endpoint {
    fn has(&self, bucket: &str) -> bool {
        self.buckets
            .iter()
            .any(|name| match name.strip_suffix('*') {
                Some(beginning) => bucket.starts_with(beginning),
                None => name == bucket,
            })
    }

    fn open(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
        let mut client = ClientOptions::new()
            .with_connect_timeout(CONNECT_PATIENCE)
            .with_timeout(PATIENCE);
        if !self.certificates.is_empty() {
            for certificate in Certificate::from_pem_bundle(&self.certificates)? {
                client = client.with_root_certificate(certificate);
            }
        }
        let retries = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: PATIENCE,
        };
        let opened = AmazonS3Builder::new()
            .with_client_options(client)
            .with_retry(retries)
            .with_endpoint(self.url.trim_end_matches('/'))
            .with_allow_http(self.url.starts_with("http://"))
            .with_virtual_hosted_style_request(false)
            .with_region(&self.region)
            .with_bucket_name(bucket)
            .with_access_key_id(&self.access_key_id)
            .with_secret_access_key(&self.secret_access_key)
            .build()?;
        Ok(Arc::new(opened))
    }
}

/// For a connection to an endpoint.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// For a request, its body included.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request is sent again so often before a delivery counts as failed, which is tried again as well.
const RETRIES: usize = 2;

/// For the question whether a bucket is there.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Why a file was not put into a bucket.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The endpoint was not reached.
    #[error("the S3 endpoint is not reached")]
    Away(#[source] object_store::Error),
    /// It does not let this daemon put files there, or there is no such bucket.
    #[error("the S3 endpoint refuses files in the bucket {bucket}")]
    Refused {
        /// The bucket.
        bucket: String,
        /// What it said.
        #[source]
        source: object_store::Error,
    },
    /// It failed.
    #[error("the S3 endpoint failed")]
    Failed(#[source] object_store::Error),
    /// The daemon ends.
    #[error("the daemon ends")]
    Stopping,
}

impl PutError {
    fn of(bucket: &str, error: object_store::Error) -> Self {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let mut next: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            if cause.is::<HttpError>() {
                return Self::Away(error);
            }
            next = cause.source();
        }
        match error {
            source @ (NotFound { .. } | PermissionDenied { .. } | Unauthenticated { .. }) => {
                Self::Refused {
                    bucket: bucket.to_owned(),
                    source,
                }
            }
            other => Self::Failed(other),
        }
    }
}

/// Why nothing can be put into a bucket, as far as its endpoint says so when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The credentials are not accepted.
    Denied,
    /// There is no such bucket.
    Missing,
}

/// All endpoints that were configured.
pub struct Endpoints {
    endpoints: Vec<Endpoint>,
    /// Where requests are made.
    runtime: Handle,
    /// Buckets that were used.
    opened: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>,
    is_stopping: watch::Sender<bool>,
}

impl Endpoints {
    /// These endpoints; each is checked as far as that goes without a request.
    pub fn new(endpoints: Vec<Endpoint>, runtime: Handle) -> Result<Self, object_store::Error> {
        for endpoint in &endpoints {
            endpoint.open("bucket")?;
        }
        Ok(Self {
            endpoints,
            runtime,
            opened: Mutex::default(),
            is_stopping: watch::Sender::new(false),
        })
    }

    /// The number of the endpoint that a bucket is at; `None` if it is a directory.
    #[must_use]
    pub fn of(&self, bucket: &str) -> Option<usize> {
        self.endpoints
            .iter()
            .position(|endpoint| endpoint.has(bucket))
    }

    /// Ends what is under way, and everything after it.
    pub fn stop(&self) {
        self.is_stopping.send_replace(true);
    }

    fn open(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(objects) = opened.get(bucket) {
            return Ok(Arc::clone(objects));
        }
        let endpoint = self.endpoints.iter().find(|it| it.has(bucket));
        let endpoint = endpoint.ok_or_else(|| object_store::Error::NotFound {
            path: bucket.to_owned(),
            source: "no endpoint has the bucket".into(),
        })?;
        let objects = endpoint.open(bucket)?;
        opened.insert(bucket.to_owned(), Arc::clone(&objects));
        Ok(objects)
    }

    /// Puts a file into a bucket. Blocks; not to be called on a thread of the runtime.
    pub(super) fn put(&self, bucket: &str, object: &Object) -> Result<(), PutError> {
        let failed = |error| PutError::of(bucket, error);
        let objects = self.open(bucket).map_err(failed)?;
        let path = Path::parse(&object.path).map_err(|error| failed(error.into()))?;
        let mut is_stopping = self.is_stopping.subscribe();
        self.runtime.block_on(async {
            tokio::select! {
                put = objects.put(&path, object.bytes.clone().into()) => put.map(|_| ()).map_err(failed),
                _ = is_stopping.wait_for(|is_stopping| *is_stopping) => Err(PutError::Stopping),
            }
        })
    }

    /// Asks the endpoint of a bucket whether files can be put there. One that does not answer, or lets
    /// nobody read, may take them for all that is known.
    pub async fn ask(&self, bucket: &str) -> Option<Refusal> {
        let objects = self.open(bucket).ok()?;
        let nothing = Path::from("AWSLogs/.enid");
        // The answer to a HEAD would say no more than its status.
        let asked = tokio::time::timeout(ASK_PATIENCE, objects.get(&nothing)).await;
        let said = asked.ok()?.err()?.to_string();
        let says = |codes: &[&str]| codes.iter().any(|code| said.contains(code));
        if says(&["NoSuchBucket"]) {
            Some(Refusal::Missing)
        } else if says(&["InvalidAccessKeyId", "SignatureDoesNotMatch"]) {
            Some(Refusal::Denied)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::runtime::Runtime;

    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint {
            url: url.to_owned(),
            region: "us-east-1".to_owned(),
            buckets: vec!["audit".to_owned(), "team-*".to_owned()],
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            certificates: Vec::new(),
        }
    }

    fn object() -> Object {
        Object {
            path: "a=1/file".to_owned(),
            bytes: b"it".to_vec(),
        }
    }

    /// An endpoint that answers every request with a status and a text, and tells the first lines.
    async fn server(status: u16, text: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).await.unwrap();
                head.extend(&buffer[..count]);
            }
            let length = text.len();
            let answer = format!(
                "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\netag: \"1\"\r\n\r\n{text}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head).into_owned()
        });
        (url, served)
    }

    #[test]
    fn a_bucket_is_at_the_first_endpoint_that_has_it() {
        let runtime = Runtime::new().unwrap();
        let both = vec![
            endpoint("http://127.0.0.1:1"),
            endpoint("https://s3.example.com"),
        ];
        let endpoints = Endpoints::new(both, runtime.handle().clone()).unwrap();
        assert_eq!(endpoints.of("audit"), Some(0));
        assert_eq!(endpoints.of("team-a"), Some(0));
        assert_eq!(
            (endpoints.of("auditor"), endpoints.of("team")),
            (None, None)
        );
    }

    #[test]
    fn a_file_is_put_signed_and_a_refusal_is_told_from_silence() {
        let runtime = Runtime::new().unwrap();
        let put = |url: &str| {
            let endpoints = vec![endpoint(url)];
            let endpoints = Endpoints::new(endpoints, runtime.handle().clone()).unwrap();
            endpoints.put("audit", &object())
        };
        let (url, served) = runtime.block_on(server(200, ""));
        put(&url).unwrap();
        let request = runtime.block_on(served).unwrap();
        assert!(
            request.starts_with("PUT /audit/a%3D1/file HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("Credential=AKIDEXAMPLE/"), "{request}");
        let (url, _) = runtime.block_on(server(403, "<Error><Code>AccessDenied</Code></Error>"));
        assert!(matches!(put(&url), Err(PutError::Refused { .. })));
        let silent = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        drop(silent);
        assert!(matches!(put(&url), Err(PutError::Away(_))));
    }

    #[test]
    fn what_is_under_way_ends_with_the_daemon() {
        let runtime = Runtime::new().unwrap();
        let silent = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let endpoints = Endpoints::new(vec![endpoint(&url)], runtime.handle().clone()).unwrap();
        endpoints.stop();
        assert!(matches!(
            endpoints.put("audit", &object()),
            Err(PutError::Stopping)
        ));
    }
}
