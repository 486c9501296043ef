//! The daemon's front door: the few operations that a container's life takes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::config::{Config, by_family};
use crate::error::{CniError, Code};
use crate::runtime::Attachment;
use crate::sigv4::{self, Key};

/// The image of instances that adopt a namespace, `enid-netns`.
const IMAGE: &str = "ami-0e51d5a4db0c00002";

/// The tags by which the plugin finds its instances again.
const NETWORK: &str = "enid:cni-network";
const CONTAINER: &str = "enid:cni-container";
const IFNAME: &str = "enid:cni-ifname";

/// How long the daemon may take to answer: it waits for hosts up to ten seconds itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of the front door.
pub(crate) struct Ec2 {
    authority: String,
    region: String,
    key: Key,
}

/// An instance of the plugin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) attachment: Attachment,
}

impl Instance {
    /// Whether it is, or will be, an instance with interfaces.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "pending" | "running")
    }

    /// Whether there is anything of it to end.
    pub(crate) fn is_left(&self) -> bool {
        !matches!(self.state.as_str(), "shutting-down" | "terminated")
    }
}

impl Ec2 {
    /// A client with what the configuration says, or else with what the daemon says itself.
    pub(crate) fn of(config: &Config) -> Result<Self, CniError> {
        let endpoint = match &config.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => endpoint_of(&config.data)?,
        };
        let authority = endpoint.strip_prefix("http://").ok_or_else(|| {
            CniError::new(Code::Config, format!("endpoint={endpoint} is not http://…"))
        })?;
        Ok(Self {
            authority: authority.trim_end_matches('/').to_owned(),
            region: config.region.clone(),
            key: match &config.credentials {
                Some(path) => credentials(path)?,
                None => root_key(&config.data)?,
            },
        })
    }

    /// Launches the instance of a container. The token makes that one instance, however often.
    pub(crate) fn run_instance(
        &self,
        config: &Config,
        attachment: &Attachment,
        addresses: &[std::net::IpAddr],
        token: &str,
    ) -> Result<String, CniError> {
        let mut form = Form::of("RunInstances");
        form.add("ImageId", IMAGE);
        form.add("InstanceType", &config.instance_type);
        form.add("MinCount", "1");
        form.add("MaxCount", "1");
        form.add("ClientToken", token);
        form.add("NetworkInterface.1.DeviceIndex", "0");
        form.add("NetworkInterface.1.SubnetId", &config.subnet);
        for (number, group) in (1..).zip(&config.security_groups) {
            form.add(
                &format!("NetworkInterface.1.SecurityGroupId.{number}"),
                group,
            );
        }
        let (ipv4, ipv6) = by_family(addresses);
        for (number, address) in (1..).zip(&ipv4) {
            let name = format!("NetworkInterface.1.PrivateIpAddresses.{number}");
            form.add(&format!("{name}.PrivateIpAddress"), &address.to_string());
            let is_primary = if number == 1 { "true" } else { "false" };
            form.add(&format!("{name}.Primary"), is_primary);
        }
        for (number, address) in (1..).zip(&ipv6) {
            let name = format!("NetworkInterface.1.Ipv6Addresses.{number}.Ipv6Address");
            form.add(&name, &address.to_string());
        }
        for (kind, name) in (1..).zip(["instance", "network-interface"]) {
            form.add(&format!("TagSpecification.{kind}.ResourceType"), name);
            let tags = [
                (NETWORK, config.name.as_str()),
                (CONTAINER, &attachment.container),
                (IFNAME, &attachment.ifname),
            ];
            for (number, (key, value)) in (1..).zip(tags) {
                let tag = format!("TagSpecification.{kind}.Tag.{number}");
                form.add(&format!("{tag}.Key"), key);
                form.add(&format!("{tag}.Value"), value);
            }
        }
        let answer = self.call(&form)?;
        let id = answer.texts("instanceId").next();
        id.ok_or_else(|| CniError::new(Code::Decode, "RunInstances answered without an instance"))
    }

    /// The instances of a network, of one attachment or of all.
    pub(crate) fn instances(
        &self,
        network: &str,
        attachment: Option<&Attachment>,
    ) -> Result<Vec<Instance>, CniError> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut form = Form::of("DescribeInstances");
            // Anybody who may set tags could set these on an instance of another kind.
            let mut filters = vec![("image-id".to_owned(), IMAGE)];
            let tag = |key: &str| format!("tag:{key}");
            filters.push((tag(NETWORK), network));
            if let Some(attachment) = attachment {
                filters.push((tag(CONTAINER), &attachment.container));
                filters.push((tag(IFNAME), &attachment.ifname));
            }
            for (number, (name, value)) in (1..).zip(filters) {
                form.add(&format!("Filter.{number}.Name"), &name);
                form.add(&format!("Filter.{number}.Value.1"), &literally(value));
            }
            form.add("MaxResults", "1000");
            if let Some(token) = &next {
                form.add("NextToken", token);
            }
            let answer = self.call(&form)?;
            found.extend(answer.instances()?);
            next = answer.texts("nextToken").find(|token| !token.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// Ends instances, and with them their interfaces.
    pub(crate) fn terminate(&self, instances: &[String]) -> Result<(), CniError> {
        if instances.is_empty() {
            return Ok(());
        }
        let mut form = Form::of("TerminateInstances");
        for (number, id) in (1..).zip(instances) {
            form.add(&format!("InstanceId.{number}"), id);
        }
        self.call(&form).map(|_answer| ())
    }

    /// Asks whether the subnet is there.
    pub(crate) fn require_subnet(&self, subnet: &str) -> Result<(), CniError> {
        let mut form = Form::of("DescribeSubnets");
        form.add("SubnetId.1", subnet);
        self.call(&form).map(|_answer| ())
    }

    fn call(&self, form: &Form) -> Result<Answer, CniError> {
        let later = |what: &str, error: std::io::Error| {
            let words = format!("{what} http://{}: {error}", self.authority);
            CniError::new(Code::TryAgain, words)
        };
        let address = self
            .authority
            .to_socket_addrs()
            .map_err(|error| later("find", error))?
            .next()
            .ok_or_else(|| CniError::new(Code::Config, "the endpoint names no host"))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        let mut stream = stream.map_err(|error| later("connect to", error))?;
        let mut exchange = || -> std::io::Result<Vec<u8>> {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(self.request(&form.0).as_bytes())?;
            let mut raw = Vec::new();
            stream.read_to_end(&mut raw)?;
            Ok(raw)
        };
        let raw = exchange().map_err(|error| later("ask", error))?;
        Answer::of(&raw)
    }

    fn request(&self, body: &str) -> String {
        #[expect(
            clippy::disallowed_methods,
            reason = "a request is signed with the present moment"
        )]
        let now = SystemTime::now();
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH);
        let stamp = sigv4::stamp(seconds.map_or(0, |since| since.as_secs()));
        let host = &self.authority;
        let authorization = sigv4::authorization(
            &self.key,
            &sigv4::Request {
                host,
                region: &self.region,
                stamp: &stamp,
                body,
            },
        );
        format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: {}\r\nx-amz-date: {stamp}\r\n\
             authorization: {authorization}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            sigv4::FORM,
            body.len()
        )
    }
}

/// A request's parameters.
struct Form(String);

impl Form {
    fn of(action: &str) -> Self {
        Self(format!("Action={action}&Version=2016-11-15"))
    }

    fn add(&mut self, name: &str, value: &str) {
        self.0.push('&');
        self.0.push_str(&encoded(name));
        self.0.push('=');
        self.0.push_str(&encoded(value));
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A filter's value that stands for itself: `*` and `?` would stand for others.
fn literally(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// An answer's body, which is XML.
struct Answer(String);

impl Answer {
    fn of(raw: &[u8]) -> Result<Self, CniError> {
        let text = String::from_utf8_lossy(raw);
        let decoding = |words: &str| CniError::new(Code::Decode, words);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or_else(|| decoding("the answer is not HTTP"))?;
        let status: u16 = head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| decoding("the answer has no status"))?;
        let answer = Self(body.to_owned());
        if status == 200 {
            return Ok(answer);
        }
        let word = |name| answer.texts(name).next().unwrap_or_default();
        let (code, message) = (word("Code"), word("Message"));
        let later = matches!(
            code.as_str(),
            "RequestLimitExceeded" | "InsufficientFreeAddressesInSubnet" | "InternalError"
        );
        let code_of = if later { Code::TryAgain } else { Code::Refused };
        Err(CniError::new(code_of, format!("{code}: {message}")))
    }

    /// The texts of all elements of a name.
    fn texts(&self, name: &str) -> impl Iterator<Item = String> {
        let mut texts = Vec::new();
        if let Ok(document) = roxmltree::Document::parse(&self.0) {
            let elements = document.descendants();
            let elements = elements.filter(|node| local(node, name));
            texts.extend(elements.map(|node| node.text().unwrap_or_default().to_owned()));
        }
        texts.into_iter()
    }

    fn instances(&self) -> Result<Vec<Instance>, CniError> {
        let document = roxmltree::Document::parse(&self.0)
            .map_err(|error| CniError::new(Code::Decode, format!("read the answer: {error}")))?;
        let sets = document
            .descendants()
            .filter(|node| local(node, "instancesSet"));
        let items = sets.flat_map(|set| set.children().filter(|node| local(node, "item")));
        Ok(items.filter_map(|item| instance_of(&item)).collect())
    }
}

fn local(node: &roxmltree::Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

fn instance_of(item: &roxmltree::Node<'_, '_>) -> Option<Instance> {
    let child = |node: &roxmltree::Node<'_, '_>, name: &str| {
        let found = node.children().find(|node| local(node, name));
        found.and_then(|node| node.text()).map(str::to_owned)
    };
    let state = item.children().find(|node| local(node, "instanceState"))?;
    let tags = item.children().find(|node| local(node, "tagSet"))?;
    let tag = |key: &str| {
        let tags = tags.children().filter(|node| local(node, "item"));
        tags.filter(|tag| child(tag, "key").as_deref() == Some(key))
            .find_map(|tag| child(&tag, "value"))
    };
    Some(Instance {
        id: child(item, "instanceId")?,
        state: child(&state, "name")?,
        attachment: Attachment {
            container: tag(CONTAINER)?,
            ifname: tag(IFNAME)?,
        },
    })
}

/// Where the daemon of a data directory answers, as it says itself.
fn endpoint_of(data: &Path) -> Result<String, CniError> {
    #[derive(Deserialize)]
    struct Daemon {
        endpoint: String,
    }
    let path = data.join("daemon.json");
    let daemon: Daemon = read(&path, Code::TryAgain)?;
    Ok(daemon.endpoint)
}

/// The first key of a data directory that may do everything.
fn root_key(data: &Path) -> Result<Key, CniError> {
    #[derive(Deserialize)]
    struct Keys {
        keys: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        access_key_id: String,
        secret_access_key: String,
        policy: Option<serde_json::Value>,
    }
    let path = data.join("keys.json");
    let keys: Keys = read(&path, Code::TryAgain)?;
    let root = keys.keys.into_iter().find(|key| key.policy.is_none());
    let root = root.map(|key| Key {
        id: key.access_key_id,
        secret: key.secret_access_key,
    });
    let words = || CniError::new(Code::Io, format!("{} has no key", path.display()));
    root.ok_or_else(words)
}

/// The key of a file as `enid --json key create` prints it, or as `enid --json env` does.
fn credentials(path: &Path) -> Result<Key, CniError> {
    #[derive(Deserialize)]
    struct Credentials {
        #[serde(alias = "AWS_ACCESS_KEY_ID")]
        access_key_id: String,
        #[serde(alias = "AWS_SECRET_ACCESS_KEY")]
        secret_access_key: String,
    }
    let file: Credentials = read(path, Code::Io)?;
    Ok(Key {
        id: file.access_key_id,
        secret: file.secret_access_key,
    })
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path, missing: Code) -> Result<T, CniError> {
    let bytes = fs::read(path)
        .map_err(|error| CniError::new(missing, format!("read {}: {error}", path.display())))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CniError::new(Code::Decode, format!("read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIBED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n\
        <DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
        <reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>\
        <instanceState><code>16</code><name>running</name></instanceState>\
        <tagSet><item><key>enid:cni-container</key><value>c</value></item>\
        <item><key>enid:cni-ifname</key><value>eth0</value></item></tagSet></item></instancesSet>\
        </item></reservationSet><nextToken>t</nextToken></DescribeInstancesResponse>";

    #[test]
    fn answers_are_read() {
        let answer = Answer::of(DESCRIBED).unwrap();
        let [instance] = &answer.instances().unwrap()[..] else {
            panic!("one instance");
        };
        assert_eq!((instance.id.as_str(), instance.is_running()), ("i-1", true));
        assert_eq!(instance.attachment.ifname, "eth0");
        assert_eq!(answer.texts("nextToken").next().as_deref(), Some("t"));
    }

    #[test]
    fn refusals_are_errors_with_their_words() {
        let refused = b"HTTP/1.1 400 Bad Request\r\n\r\n<Response><Errors><Error>\
            <Code>InvalidSubnetID.NotFound</Code><Message>no subnet</Message>\
            </Error></Errors></Response>";
        let error = Answer::of(refused).err().unwrap();
        assert_eq!(error.code, Code::Refused);
        assert_eq!(error.to_string(), "InvalidSubnetID.NotFound: no subnet");
        assert_eq!(Answer::of(b"what").err().unwrap().code, Code::Decode);
    }

    #[test]
    fn parameters_are_encoded() {
        let mut form = Form::of("A");
        form.add("tag:b", "c d/ä");
        assert_eq!(form.0, "Action=A&Version=2016-11-15&tag%3Ab=c%20d%2F%C3%A4");
        assert_eq!(literally("a*b?c\\"), "a\\*b\\?c\\\\");
    }
}
