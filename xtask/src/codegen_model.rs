//! The part of a botocore service model that code generation needs, in the model's own order.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// The release that the project is generated from; `tests/requirements.txt` installs it.
pub(crate) const BOTOCORE: &str = "1.43.11";

/// One service: its operations and shapes.
#[derive(Deserialize)]
pub(crate) struct Model {
    pub(crate) metadata: Metadata,
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) shapes: BTreeMap<String, Shape>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) protocol: String,
}

#[derive(Deserialize)]
pub(crate) struct Operation {
    pub(crate) input: Option<Reference>,
    pub(crate) output: Option<Reference>,
}

/// A use of a shape, with what that use says about names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    pub(crate) shape: String,
    pub(crate) location_name: Option<String>,
    pub(crate) query_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) members: Ordered,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    pub(crate) member: Option<Reference>,
    #[serde(default)]
    pub(crate) flattened: bool,
    /// The values of a map, whose keys are strings.
    pub(crate) value: Option<Reference>,
    /// How the shape is told as an error, if it is one.
    #[serde(default)]
    pub(crate) exception: bool,
    pub(crate) error: Option<Fault>,
    /// Whether the members of the structure are events that are told one by one.
    #[serde(default)]
    pub(crate) eventstream: bool,
    #[serde(default, rename = "enum")]
    pub(crate) values: Vec<String>,
}

/// What the query protocol says of an error.
#[derive(Deserialize)]
pub(crate) struct Fault {
    pub(crate) code: Option<String>,
}

/// The members of a structure in the order of the file, which is the order of AWS's answers.
#[derive(Default)]
pub(crate) struct Ordered(pub(crate) Vec<(String, Reference)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the members of a structure")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Ordered(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Model {
    /// Reads a service's model from the pinned botocore.
    pub(crate) fn load(root: &Path, service: &str, version: &str) -> Result<Self> {
        let path = botocore(root)?
            .join("data")
            .join(service)
            .join(version)
            .join("service-2.json.gz");
        let file =
            std::fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(file)
            .read_to_end(&mut text)
            .with_context(|| format!("unpack {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
    }

    pub(crate) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes
            .get(name)
            .with_context(|| format!("the model has no shape {name}"))
    }

    /// The errors whose code in the query protocol is not their shape's name: code and name, sorted.
    pub(crate) fn renamed_errors(&self) -> BTreeMap<&str, &str> {
        let errors = self.shapes.iter().filter(|(_, shape)| shape.exception);
        let renamed = errors.filter_map(|(name, shape)| {
            let code = shape.error.as_ref()?.code.as_deref()?;
            (code != name).then_some((code, name.as_str()))
        });
        // Two shapes with one code are of different parts of a service; the first will do.
        let mut found = BTreeMap::new();
        for (code, name) in renamed {
            found.entry(code).or_insert(name);
        }
        found
    }

    /// Whether this is the EC2 flavour of the query protocol.
    pub(crate) fn is_ec2(&self) -> bool {
        self.metadata.protocol == "ec2"
    }

    /// The name of a member in a request.
    ///
    /// EC2: the query name, else the location name with its first letter in upper case, else the
    /// member's own name. Query: the location name, else the member's own.
    pub(crate) fn wire_name(&self, member: &str, reference: &Reference) -> String {
        match (
            self.is_ec2(),
            &reference.query_name,
            &reference.location_name,
        ) {
            (true, Some(query), _) => query.clone(),
            (true, None, Some(location)) => {
                let mut letters = location.chars();
                letters
                    .next()
                    .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
                    .unwrap_or_default()
            }
            (false, _, Some(location)) => location.clone(),
            (_, _, None) => member.to_owned(),
        }
    }
}

/// Where the pinned botocore is: `ENID_BOTOCORE`, or the project's own virtual environment.
fn botocore(root: &Path) -> Result<PathBuf> {
    let package = match std::env::var_os("ENID_BOTOCORE") {
        Some(path) => PathBuf::from(path),
        None => in_venv(root)?,
    };
    let init = package.join("__init__.py");
    let text =
        std::fs::read_to_string(&init).with_context(|| format!("read {}", init.display()))?;
    let wanted = format!("__version__ = '{BOTOCORE}'");
    if !text.lines().any(|line| line.replace('"', "'") == wanted) {
        bail!("{} is not botocore {BOTOCORE}", package.display());
    }
    Ok(package)
}

fn in_venv(root: &Path) -> Result<PathBuf> {
    let lib = root.join(".venv/lib");
    let missing = || {
        format!(
            "no botocore under {}: run `make setup`, or set ENID_BOTOCORE to the directory of the package",
            lib.display()
        )
    };
    for entry in std::fs::read_dir(&lib).with_context(missing)? {
        let package = entry?.path().join("site-packages/botocore");
        if package.is_dir() {
            return Ok(package);
        }
    }
    bail!(missing())
}
