//! Request structures, their readers and the tables that refusal works from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};

use crate::codegen_model::{Model, Reference};
use crate::codegen_names::{constant, field, operation_constant};
use crate::codegen_support::{Class, Node, Nodes, Operation, Service};

/// Members of at most so many permitted values are checked against them before a handler sees
/// them. Longer lists (instance types, resource types) are the operation's own matter.
const ENUM_MAX: usize = 24;

/// Structures that are checked like all others, and handed on as they were sent: what reads them reads
/// them as another request later.
const HANDED_ON: [&str; 1] = ["RequestLaunchTemplateData"];

/// What one operation reads.
pub(crate) struct Request {
    pub(crate) operation: String,
    pub(crate) resource: String,
    /// Wire names of the members that are refused, dotted.
    pub(crate) refused: Vec<String>,
}

/// Builds the files of one service's requests.
pub(crate) struct Requests<'a> {
    model: &'a Model,
    service: &'a Service,
    /// Structures by shape, with the members that any operation supports.
    structures: BTreeMap<String, Structure>,
    /// Tables of nested structures by their text.
    tables: BTreeMap<(String, String), Table>,
    roots: Vec<(String, String, String)>,
    /// What the operation at hand refuses, by path.
    refused: Vec<String>,
}

#[derive(Default)]
struct Structure {
    members: BTreeSet<String>,
    resources: BTreeSet<String>,
    /// The operation, if the structure is the whole request.
    root: bool,
}

/// Where a structure is met: the resource's file, and its path in the request.
struct Place<'a> {
    resource: &'a str,
    prefix: String,
    /// Whether it is in a structure that is handed on: then nothing reads its members.
    handed_on: bool,
}

struct Table {
    name: String,
    resources: BTreeSet<String>,
}

impl<'a> Requests<'a> {
    /// Resolves every operation of the service.
    pub(crate) fn new(model: &'a Model, service: &'a Service) -> Result<(Self, Vec<Request>)> {
        let mut this = Self {
            model,
            service,
            structures: BTreeMap::new(),
            tables: BTreeMap::new(),
            roots: Vec::new(),
            refused: Vec::new(),
        };
        let mut requests = Vec::new();
        for operation in &service.operations {
            let request = this
                .operation(operation)
                .with_context(|| operation.name.clone())?;
            requests.push(request);
        }
        Ok((this, requests))
    }

    fn operation(&mut self, operation: &Operation) -> Result<Request> {
        let in_model = self
            .model
            .operations
            .get(&operation.name)
            .context("the model has no such operation")?;
        let mut nodes = operation.members.clone();
        let name = format!("{}Request", operation.name);
        let shape = match &in_model.input {
            Some(input) => input.shape.clone(),
            None => String::new(),
        };
        nodes.remove("DryRun");
        let root = self.structures.entry(name.clone()).or_default();
        root.root = true;
        root.resources.insert(operation.resource.clone());
        let place = Place {
            resource: &operation.resource,
            prefix: String::new(),
            handed_on: false,
        };
        let text = self.table(&shape, &name, &nodes, &place)?;
        self.roots
            .push((operation.resource.clone(), operation.name.clone(), text));
        Ok(Request {
            operation: operation.name.clone(),
            resource: operation.resource.clone(),
            refused: std::mem::take(&mut self.refused),
        })
    }

    /// The table of one structure as the elements of an array, made by its members' wire names.
    fn table(
        &mut self,
        shape: &str,
        name: &str,
        nodes: &Nodes,
        place: &Place<'_>,
    ) -> Result<String> {
        let mut rows = BTreeMap::new();
        let mut unknown: BTreeSet<&String> = nodes.keys().collect();
        let model = self.model;
        if !shape.is_empty() {
            let shape = model.shape(shape)?;
            for (member, reference) in &shape.members.0 {
                let wire = model.wire_name(member, reference);
                unknown.remove(&wire);
                if wire == "DryRun" {
                    continue;
                }
                let row = match nodes.get(&wire) {
                    None => {
                        self.refused.push(format!("{}{wire}", place.prefix));
                        format!("Member::refused({wire:?})")
                    }
                    Some(node) => {
                        let below = Place {
                            resource: place.resource,
                            prefix: format!("{}{wire}.", place.prefix),
                            handed_on: place.handed_on
                                || HANDED_ON.contains(&reference.shape.as_str()),
                        };
                        let (kind, values) = self
                            .kind(reference, node, &below)
                            .with_context(|| wire.clone())?;
                        if !place.handed_on && self.has_fields(reference, node)? {
                            let structure = self.structures.entry(name.to_owned()).or_default();
                            structure.members.insert(member.clone());
                        }
                        let mut row = format!("Member::supported({wire:?}, {kind})");
                        if shape.required.contains(member) {
                            row.push_str(".required()");
                        }
                        if !node.values.is_empty() {
                            write!(row, ".only(&{:?})", node.values)?;
                        }
                        if !values.is_empty() && values.len() <= ENUM_MAX {
                            write!(row, ".of(&{values:?})")?;
                        }
                        row
                    }
                };
                rows.insert(wire, row);
            }
        }
        ensure!(unknown.is_empty(), "the model has no member {unknown:?}");
        Ok(rows.into_values().collect::<Vec<_>>().join(",\n"))
    }

    /// The kind of a member as an expression, and the values that AWS permits.
    fn kind(
        &mut self,
        reference: &Reference,
        node: &Node,
        place: &Place<'_>,
    ) -> Result<(String, Vec<String>)> {
        let model = self.model;
        let shape = model.shape(&reference.shape)?;
        Ok(match shape.kind.as_str() {
            "structure" => {
                let nodes = self.below(&reference.shape, node)?;
                let structure = self.structures.entry(reference.shape.clone()).or_default();
                structure.resources.insert(place.resource.to_owned());
                let text = self.table(&reference.shape, &reference.shape, &nodes, place)?;
                let name = self.intern(&reference.shape, text, place.resource);
                (format!("Kind::Structure(&{name})"), Vec::new())
            }
            "list" => {
                let item = shape.member.as_ref().context("a list without a member")?;
                let (kind, values) = self.kind(item, node, place)?;
                let kind = if model.is_ec2() || shape.flattened {
                    format!("Kind::List(&{kind})")
                } else {
                    let name = item.location_name.as_deref().unwrap_or("member");
                    format!("Kind::MemberList({name:?}, &{kind})")
                };
                (kind, values)
            }
            "map" => {
                let item = shape.value.as_ref().context("a map without a value")?;
                let (kind, values) = self.kind(item, node, place)?;
                (format!("Kind::Map(&{kind})"), values)
            }
            "boolean" if !node.values.is_empty() => (
                self.scalar_kind(&shape.kind)?,
                vec!["false".to_owned(), "true".to_owned()],
            ),
            _ => (self.scalar_kind(&shape.kind)?, shape.values.clone()),
        })
    }

    /// EC2's readers know the types of their scalars; documents are given them by their tables.
    fn scalar_kind(&self, kind: &str) -> Result<String> {
        let rust = scalar(kind)?;
        if self.model.is_ec2() {
            return Ok("Kind::Scalar".to_owned());
        }
        let variant = match rust {
            "Blob" => "Blob",
            "bool" => "Boolean",
            "i32" => "Integer",
            "i64" => "Long",
            "f64" => "Number",
            "Timestamp" => "Timestamp",
            _ => "Text",
        };
        Ok(format!("Kind::Of(Scalar::{variant})"))
    }

    /// The supported members of a nested structure: those of the operation, else of its block.
    fn below(&self, shape: &str, node: &Node) -> Result<Nodes> {
        if !node.children.is_empty() {
            return Ok(node.children.clone());
        }
        self.service.shapes.get(shape).cloned().with_context(|| {
            format!("no members are listed, and there is no block `shape {shape}`")
        })
    }

    fn intern(&mut self, shape: &str, text: String, resource: &str) -> String {
        let variants = self.tables.keys().filter(|(of, _)| of == shape).count();
        let table = self
            .tables
            .entry((shape.to_owned(), text))
            .or_insert_with(|| Table {
                name: match variants {
                    0 => constant(shape),
                    more => format!("{}_{}", constant(shape), more + 1),
                },
                resources: BTreeSet::new(),
            });
        table.resources.insert(resource.to_owned());
        table.name.clone()
    }

    /// Whether anything is left for a handler to read: a member with one permitted value is
    /// not, unless the table says so.
    fn has_fields(&self, reference: &Reference, node: &Node) -> Result<bool> {
        let shape = self.model.shape(&reference.shape)?;
        match shape.kind.as_str() {
            "structure" => {
                let nodes = self.below(&reference.shape, node)?;
                for (member, reference) in &shape.members.0 {
                    let wire = self.model.wire_name(member, reference);
                    if let Some(node) = nodes.get(&wire)
                        && self.has_fields(reference, node)?
                    {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => Ok(node.is_told || node.values.len() != 1),
        }
    }

    /// The text of each file by its name.
    pub(crate) fn files(&self) -> Result<BTreeMap<String, String>> {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for (resource, operation, table) in &self.roots {
            let name = format!("{operation}Request");
            let file = files.entry(resource.clone()).or_default();
            let doc = format!("What a client asks of {operation}.");
            let input = self.model.operations[operation].input.as_ref();
            self.structure(file, &name, input.map(|input| input.shape.as_str()), &doc)?;
            writeln!(
                file,
                "/// The members of {operation}.\npub(in crate::generated) static {}: Shape = Shape::new(&[{table}]);\n",
                operation_constant(operation)
            )?;
        }
        for (name, structure) in &self.structures {
            if !structure.root && !structure.members.is_empty() {
                let file = files.entry(home(&structure.resources)).or_default();
                let doc = format!("The request structure {name}.");
                self.structure(file, name, Some(name), &doc)?;
            }
        }
        for ((shape, text), table) in &self.tables {
            let file = files.entry(home(&table.resources)).or_default();
            writeln!(
                file,
                "/// The members of {shape}.\npub(super) static {}: Shape = Shape::new(&[{text}]);\n",
                table.name
            )?;
        }
        Ok(files)
    }

    fn structure(
        &self,
        out: &mut String,
        name: &str,
        shape: Option<&str>,
        doc: &str,
    ) -> Result<()> {
        let supported = &self.structures[name].members;
        let (mut fields, mut reads) = (String::new(), String::new());
        if let Some(shape) = shape {
            let shape = self.model.shape(shape)?;
            for (member, reference) in &shape.members.0 {
                if !supported.contains(member) {
                    continue;
                }
                let wire = self.model.wire_name(member, reference);
                let required = shape.required.contains(member);
                let (rust, read) = self.access(reference, required)?;
                let field = field(member);
                writeln!(fields, "/// `{wire}`.\npub {field}: {rust},")?;
                let source = if self.model.is_ec2() {
                    "params"
                } else {
                    "members"
                };
                writeln!(reads, "{field}: {source}.{read}({wire:?})?,")?;
            }
        }
        let (params, members) = match reads.is_empty() {
            true => ("_params", "value.members()?;"),
            false => ("params", "let mut members = value.members()?;"),
        };
        write!(
            out,
            "/// {doc}\n#[derive(Clone, Debug, Default, PartialEq)]\npub struct {name} {{ {fields} }}\n\n"
        )?;
        if self.model.is_ec2() {
            write!(
                out,
                "impl Read for {name} {{\nfn read({params}: Params<'_>) -> Result<Self, ApiError> {{\n\
                 Ok(Self {{ {reads} }}) }} }}\n\n"
            )?;
        } else {
            write!(
                out,
                "impl FromValue for {name} {{\nfn from_value(value: Value) -> Result<Self, ApiError> {{\n\
                 {members} Ok(Self {{ {reads} }}) }} }}\n\n"
            )?;
        }
        Ok(())
    }

    /// The Rust type of a member and the reader's method.
    fn access(&self, reference: &Reference, required: bool) -> Result<(String, String)> {
        let shape = self.model.shape(&reference.shape)?;
        if shape.kind == "list" {
            let item = shape.member.as_ref().context("a list without a member")?;
            return Ok((format!("Vec<{}>", self.item_type(item)?), "list".to_owned()));
        }
        if shape.kind == "map" {
            let value = shape.value.as_ref().context("a map without a value")?;
            let rust = format!("BTreeMap<String, {}>", self.item_type(value)?);
            return Ok((rust, "map".to_owned()));
        }
        let rust = rust_type(&shape.kind, &reference.shape)?;
        Ok(if required {
            (rust, "required".to_owned())
        } else {
            (format!("Option<{rust}>"), "optional".to_owned())
        })
    }

    /// The Rust type of a list's items or a map's values.
    fn item_type(&self, item: &Reference) -> Result<String> {
        let of = self.model.shape(&item.shape)?;
        match &of.member {
            Some(inner) if of.kind == "list" => Ok(format!("Vec<{}>", self.item_type(inner)?)),
            _ => rust_type(&of.kind, &item.shape),
        }
    }
}

/// The file of what these resources use: their own if there is one, else the common one.
pub(crate) fn home(resources: &BTreeSet<String>) -> String {
    match resources.iter().collect::<Vec<_>>().as_slice() {
        [one] => (*one).clone(),
        _ => "common".to_owned(),
    }
}

fn rust_type(kind: &str, shape: &str) -> Result<String> {
    Ok(match kind {
        "structure" if HANDED_ON.contains(&shape) => "Sent".to_owned(),
        "structure" => shape.to_owned(),
        other => scalar(other)?.to_owned(),
    })
}

fn scalar(kind: &str) -> Result<&'static str> {
    Ok(match kind {
        "string" => "String",
        "boolean" => "bool",
        "integer" => "i32",
        "long" => "i64",
        "float" | "double" => "f64",
        "timestamp" => "Timestamp",
        "blob" => "Blob",
        other => bail!("no reader for {other}"),
    })
}

/// Classes of an operation's members for the coverage page: wire names by class.
pub(crate) fn by_class(nodes: &Nodes, prefix: &str, out: &mut Vec<(Class, String)>) {
    for (name, node) in nodes {
        let path = format!("{prefix}{name}");
        if !node.children.is_empty() {
            by_class(&node.children, &format!("{path}."), out);
        } else if node.values.is_empty() {
            out.push((node.class, path));
        } else {
            out.push((
                node.class,
                format!("{path} (only {})", node.values.join(", ")),
            ));
        }
    }
}
