//! The operations of a service whose requests and answers are documents.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::codegen::head;
use crate::codegen_model::Model;
use crate::codegen_names::operation_constant;
use crate::codegen_support::Service;

/// The file: which request is which, what the rest of AWS's operations are, and the names of errors.
pub(crate) fn documents(service: &Service, model: &Model) -> Result<String> {
    let mut supported: BTreeMap<&str, &str> = BTreeMap::new();
    for operation in &service.operations {
        supported.insert(&operation.name, &operation.resource);
    }
    let mut parts = Parts::default();
    let mut void = Vec::new();
    for (name, resource) in &supported {
        let in_model = model.operations.get(*name);
        let in_model = in_model.context("the model has no such operation")?;
        if in_model.output.is_none() {
            void.push(*name);
        }
        parts.operation(name, resource)?;
    }
    let implemented: Vec<&str> = supported.keys().copied().collect();
    let others: Vec<&str> = model
        .operations
        .keys()
        .map(String::as_str)
        .filter(|name| !supported.contains_key(name))
        .collect();
    let shapes: Vec<(&str, &str)> = model.renamed_errors().into_iter().collect();
    let Parts {
        requests,
        parses,
        names,
        responses,
        froms,
        writes,
    } = parts;
    // A service may have none yet: then there is nothing to borrow from.
    let (of, imports, sink) = match supported.is_empty() {
        true => ("*self", "", "_sink"),
        false => ("self", "use super::{request, response};\n", "sink"),
    };
    let mut out = head(service);
    write!(
        out,
        "//! The operations of {name}: those that Enid implements, and the names of the others.\n\n\
         {imports}\
         use crate::error::ApiError;\n\
         use crate::wire::answer::{{Encode, Sink}};\n\
         use crate::wire::input::Input;\n\n\
         /// A request that has been read whole: every member is supported and well formed.\n\
         #[derive(Clone, Debug, PartialEq)]\npub enum Request {{ {requests} }}\n\n\
         impl Request {{\n\
         /// Reads the members of an operation. Everything that Enid does not implement is refused here.\n\
         pub fn parse(action: &str, input: Input<'_>) -> Result<Self, ApiError> {{\n\
         match action {{ {parses}\n\
         other if NOT_IMPLEMENTED.binary_search(&other).is_ok() => Err(ApiError::operation_not_implemented(other)),\n\
         other => Err(input.invalid_action(other)), }} }}\n\n\
         /// The operation's name.\n#[must_use]\npub fn operation(&self) -> &'static str {{ match {of} {{ {names} }} }}\n}}\n\n\
         /// An answer.\n#[derive(Clone, Debug, PartialEq)]\npub enum Response {{ {responses} }}\n\n\
         impl Encode for Response {{ fn encode(&self, {sink}: &mut dyn Sink) {{ match {of} {{ {writes} }} }} }}\n\n\
         {froms}\n\
         /// The operations, by name.\n\
         pub static OPERATIONS: &[&str] = &{implemented:?};\n\n\
         /// Those that have no result.\n\
         pub static VOID: &[&str] = &{void:?};\n\n\
         /// Codes of the query protocol whose errors have another name in documents.\n\
         pub static SHAPES: &[(&str, &str)] = &{shapes:?};\n\n\
         /// AWS's other operations, by name.\n\
         static NOT_IMPLEMENTED: &[&str] = &{others:?};\n",
        name = service.name,
    )?;
    Ok(out)
}

/// The arms of each `match`, and what else there is one of for each operation.
#[derive(Default)]
struct Parts {
    requests: String,
    parses: String,
    names: String,
    responses: String,
    froms: String,
    writes: String,
}

impl Parts {
    fn operation(&mut self, name: &str, resource: &str) -> Result<()> {
        let table = operation_constant(name);
        writeln!(
            self.requests,
            "/// {name}.\n{name}(Box<request::{name}Request>),"
        )?;
        writeln!(
            self.parses,
            "{name:?} => input.read({name:?}, &request::{resource}::{table}).map(|request| Self::{name}(Box::new(request))),"
        )?;
        writeln!(self.names, "Self::{name}(_) => {name:?},")?;
        writeln!(
            self.responses,
            "/// {name}.\n{name}(Box<response::{name}Response>),"
        )?;
        writeln!(
            self.writes,
            "Self::{name}(response) => response.encode(sink),"
        )?;
        writeln!(
            self.froms,
            "impl From<response::{name}Response> for Response {{ fn from(response: response::{name}Response) -> Self {{ Self::{name}(Box::new(response)) }} }}\n"
        )?;
        Ok(())
    }
}
