//! Answer structures and their XML writers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};

use crate::codegen_model::{Model, Reference};
use crate::codegen_names::field;
use crate::codegen_request::home;
use crate::codegen_support::{Answer, Service};

/// Builds the files of one service's answers.
pub(crate) struct Responses<'a> {
    model: &'a Model,
    service: &'a Service,
    /// Nested structures and the resources that use them.
    structures: BTreeMap<String, BTreeSet<String>>,
    used: BTreeSet<String>,
}

struct Member<'a> {
    name: &'a str,
    reference: &'a Reference,
    element: &'a str,
    optional: bool,
    prepared: bool,
}

impl<'a> Responses<'a> {
    /// Finds the closure of the service's answers.
    pub(crate) fn new(model: &'a Model, service: &'a Service) -> Result<Self> {
        let mut this = Self {
            model,
            service,
            structures: BTreeMap::new(),
            used: BTreeSet::new(),
        };
        for operation in &service.operations {
            let output = model
                .operations
                .get(&operation.name)
                .and_then(|op| op.output.as_ref());
            if let Some(output) = output {
                this.walk(&output.shape, &operation.resource)
                    .with_context(|| operation.name.clone())?;
            }
        }
        for name in service.answers.keys() {
            ensure!(this.used.contains(name), "no answer uses {name}");
        }
        Ok(this)
    }

    fn walk(&mut self, shape: &str, resource: &str) -> Result<()> {
        self.used.insert(shape.to_owned());
        for member in self.members(shape)? {
            let mut name = &member.reference.shape;
            loop {
                let shape = self.model.shape(name)?;
                let Some(item) = shape.member.as_ref().or(shape.value.as_ref()) else {
                    break;
                };
                name = &item.shape;
            }
            let shape = self.model.shape(name)?;
            if shape.eventstream {
                // The stream is no structure; its events are.
                for (_, event) in &shape.members.0 {
                    if !self.model.shape(&event.shape)?.exception {
                        let users = self.structures.entry(event.shape.clone()).or_default();
                        users.insert(resource.to_owned());
                        self.walk(&event.shape, resource)?;
                    }
                }
            } else if shape.kind == "structure" {
                let users = self.structures.entry(name.clone()).or_default();
                if users.insert(resource.to_owned()) {
                    self.walk(name, resource)?;
                }
            }
        }
        Ok(())
    }

    /// The members of a shape that may be filled, in the model's order.
    fn members(&self, shape: &str) -> Result<Vec<Member<'a>>> {
        let filled = self.service.answers.get(shape);
        let all = &self.model.shape(shape)?.members.0;
        let mut members = Vec::new();
        for (name, reference) in all {
            let element = reference.location_name.as_deref().unwrap_or(name);
            let answer = match filled {
                Some(filled) => filled.iter().find(|answer| answer.name == element),
                None => None,
            };
            if filled.is_none() || answer.is_some() {
                members.push(Member {
                    name,
                    reference,
                    element,
                    optional: answer.is_some_and(|answer: &Answer| answer.optional),
                    prepared: answer.is_some_and(|answer| answer.prepared),
                });
            }
        }
        if let Some(filled) = filled {
            for answer in filled {
                ensure!(
                    members.iter().any(|member| member.element == answer.name),
                    "{shape} has no element {}",
                    answer.name
                );
            }
        }
        Ok(members)
    }

    /// The text of each file by its name.
    pub(crate) fn files(&self) -> Result<BTreeMap<String, String>> {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for operation in &self.service.operations {
            let file = files.entry(operation.resource.clone()).or_default();
            let name = format!("{}Response", operation.name);
            let output = self.model.operations[&operation.name].output.as_ref();
            let doc = format!("The answer of {}.", operation.name);
            self.structure(
                file,
                &name,
                output.map(|output| output.shape.as_str()),
                &doc,
            )?;
        }
        for (name, resources) in &self.structures {
            let file = files.entry(home(resources)).or_default();
            self.structure(
                file,
                name,
                Some(name),
                &format!("The answer structure {name}."),
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
        let (mut fields, mut writes) = (String::new(), String::new());
        match shape {
            // EC2 says that an operation without an answer has been done.
            None if self.model.is_ec2() => writes.push_str("xml.element(tag!(\"return\"), &true);"),
            None => {}
            Some(shape) => {
                for member in self.members(shape)? {
                    self.member(&mut fields, &mut writes, &member)
                        .with_context(|| format!("{shape}.{}", member.name))?;
                }
            }
        }
        write!(
            out,
            "/// {doc}\n#[derive(Clone, Debug, Default, PartialEq)]\npub struct {name} {{ {fields} }}\n\n"
        )?;
        if self.model.is_ec2() {
            let xml = if writes.is_empty() { "_xml" } else { "xml" };
            write!(
                out,
                "impl ToXml for {name} {{\nfn to_xml(&self, {xml}: &mut Xml) {{ {writes} }} }}\n\n"
            )?;
        } else {
            write!(
                out,
                "impl Encode for {name} {{\nfn encode(&self, sink: &mut dyn Sink) {{ sink.begin(); {writes} sink.end(); }} }}\n\n"
            )?;
        }
        Ok(())
    }

    fn member(&self, fields: &mut String, writes: &mut String, member: &Member<'_>) -> Result<()> {
        let Member {
            name,
            reference,
            element,
            optional,
            prepared,
        } = member;
        let field = field(name);
        let shape = self.model.shape(&reference.shape)?;
        writeln!(fields, "/// `{element}`.")?;
        if !self.model.is_ec2() {
            return self.document_member(fields, writes, member);
        }
        let Some(item) = &shape.member else {
            let rust = self.rust_type(&reference.shape)?;
            writeln!(fields, "pub {field}: Option<{rust}>,")?;
            writeln!(writes, "xml.optional(tag!({element:?}), &self.{field});")?;
            return Ok(());
        };
        let mut rust = self.rust_type(&item.shape)?;
        if *prepared {
            rust = format!("Prepared<{rust}>");
        }
        let inner = item.location_name.as_deref().unwrap_or("item");
        if *optional {
            writeln!(fields, "pub {field}: Option<Vec<{rust}>>,")?;
            writeln!(
                writes,
                "if let Some(items) = &self.{field} {{ xml.list(tag!({element:?}), tag!({inner:?}), items); }}"
            )?;
        } else {
            writeln!(fields, "pub {field}: Vec<{rust}>,")?;
            writeln!(
                writes,
                "xml.list(tag!({element:?}), tag!({inner:?}), &self.{field});"
            )?;
        }
        Ok(())
    }

    /// A member of an answer that is the same in all protocols.
    fn document_member(
        &self,
        fields: &mut String,
        writes: &mut String,
        member: &Member<'_>,
    ) -> Result<()> {
        let (field, element) = (field(member.name), member.element);
        let shape = self.model.shape(&member.reference.shape)?;
        if shape.eventstream {
            // Told after the answer, by whoever sends it.
            writeln!(fields, "pub {field}: EventStream,")?;
            return Ok(());
        }
        let (rust, call) = if let Some(item) = &shape.member {
            let inner = item.location_name.as_deref().unwrap_or("member");
            let rust = format!("Vec<{}>", self.rust_type(&item.shape)?);
            match member.optional {
                true => (
                    format!("Option<{rust}>"),
                    "answer::optional(sink, ".to_owned(),
                ),
                false => (rust, format!("answer::list(sink, {inner:?}, ")),
            }
        } else if let Some(value) = &shape.value {
            let rust = format!("BTreeMap<String, {}>", self.rust_type(&value.shape)?);
            (rust, "answer::map(sink, ".to_owned())
        } else {
            let rust = self.rust_type(&member.reference.shape)?;
            (
                format!("Option<{rust}>"),
                "answer::optional(sink, ".to_owned(),
            )
        };
        writeln!(fields, "pub {field}: {rust},")?;
        writeln!(writes, "{call}{element:?}, &self.{field});")?;
        Ok(())
    }

    fn rust_type(&self, name: &str) -> Result<String> {
        let shape = self.model.shape(name)?;
        Ok(match shape.kind.as_str() {
            "blob" => "Blob".to_owned(),
            "list" => {
                let item = shape.member.as_ref().context("a list without a member")?;
                format!("Vec<{}>", self.rust_type(&item.shape)?)
            }
            "structure" => name.to_owned(),
            "string" => "Text".to_owned(),
            "boolean" => "bool".to_owned(),
            "integer" => "i32".to_owned(),
            "long" => "i64".to_owned(),
            "float" | "double" => "f64".to_owned(),
            "timestamp" => "Timestamp".to_owned(),
            other => bail!("no writer for {other}"),
        })
    }
}
