//! The support table: which operations and members Enid has, and in which class.
//!
//! The format is explained at the top of `crates/enid-api/support.txt`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// What becomes of a member that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It changes what packets do, or what is reported.
    Enforced,
    /// It is outside networking: stored and reported back.
    Recorded,
}

/// A member that is supported, with those below it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) class: Class,
    /// Whether a handler gets it although only one value is accepted: that it is named matters.
    pub(crate) is_told: bool,
    /// The only values that are accepted; empty for any.
    pub(crate) values: Vec<String>,
    pub(crate) children: Nodes,
}

/// Supported members by wire name.
pub(crate) type Nodes = BTreeMap<String, Node>;

/// One supported operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) resource: String,
    pub(crate) members: Nodes,
    pub(crate) notes: Vec<String>,
}

/// A member of an answer that may be filled.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) name: String,
    /// Whether the list is absent unless set (`?`), rather than always present.
    pub(crate) optional: bool,
    /// Whether the list's items may have been written for an earlier answer (`!`).
    pub(crate) prepared: bool,
}

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) operations: Vec<Operation>,
    /// Members of request structures that every operation supports alike.
    pub(crate) shapes: BTreeMap<String, Nodes>,
    /// Members of answer structures that are filled; a shape that is absent here is filled whole.
    pub(crate) answers: BTreeMap<String, Vec<Answer>>,
}

enum Block {
    None,
    Operation,
    Shape(String),
    Answer(String),
}

/// Reads the table.
pub(crate) fn load(path: &Path) -> Result<Vec<Service>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("read {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Service>> {
    let mut services: Vec<Service> = Vec::new();
    let mut resource = String::new();
    let mut block = Block::None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        step(&mut services, &mut resource, &mut block, word, rest.trim())
            .with_context(|| format!("line {}: {line}", number + 1))?;
    }
    for service in &services {
        for operation in &service.operations {
            ensure!(
                !operation.resource.is_empty(),
                "{} is under no resource",
                operation.name
            );
        }
    }
    Ok(services)
}

fn step(
    services: &mut Vec<Service>,
    resource: &mut String,
    block: &mut Block,
    word: &str,
    rest: &str,
) -> Result<()> {
    if word == "service" {
        let (name, version) = rest
            .split_once(' ')
            .context("a service has a name and a version")?;
        services.push(Service {
            name: name.to_owned(),
            version: version.trim().to_owned(),
            operations: Vec::new(),
            shapes: BTreeMap::new(),
            answers: BTreeMap::new(),
        });
        *block = Block::None;
        return Ok(());
    }
    let service = services.last_mut().context("no service yet")?;
    match word {
        "resource" => rest.clone_into(resource),
        "op" => {
            ensure!(
                !service
                    .operations
                    .iter()
                    .any(|operation| operation.name == rest),
                "the operation is there already"
            );
            service.operations.push(Operation {
                name: rest.to_owned(),
                resource: resource.clone(),
                members: Nodes::new(),
                notes: Vec::new(),
            });
            *block = Block::Operation;
        }
        "shape" => {
            service.shapes.insert(rest.to_owned(), Nodes::new());
            *block = Block::Shape(rest.to_owned());
        }
        "answer" => {
            service.answers.insert(rest.to_owned(), Vec::new());
            *block = Block::Answer(rest.to_owned());
        }
        "enforced" | "recorded" => {
            let class = if word == "enforced" {
                Class::Enforced
            } else {
                Class::Recorded
            };
            let nodes = match block {
                Block::Operation => service.operations.last_mut().map(|last| &mut last.members),
                Block::Shape(name) => service.shapes.get_mut(name),
                Block::Answer(_) | Block::None => None,
            };
            let nodes = nodes.context("members belong under an op or a shape")?;
            for member in rest.split_whitespace() {
                insert(nodes, member, class)?;
            }
        }
        "filled" => {
            let Block::Answer(name) = block else {
                bail!("filled belongs under an answer")
            };
            let answers = service.answers.get_mut(name).context("no such answer")?;
            answers.extend(rest.split_whitespace().map(|member| Answer {
                name: member.trim_end_matches(['?', '!']).to_owned(),
                optional: member.ends_with('?'),
                prepared: member.ends_with('!'),
            }));
        }
        "note" => {
            let Block::Operation = block else {
                bail!("a note belongs under an op")
            };
            let last = service.operations.last_mut().context("no operation yet")?;
            last.notes.push(rest.to_owned());
        }
        _ => bail!("unknown word {word}"),
    }
    Ok(())
}

fn insert(nodes: &mut Nodes, member: &str, class: Class) -> Result<()> {
    let (path, values) = match member.split_once('=') {
        Some((path, values)) => (path, Some(values)),
        None => (member, None),
    };
    let (name, below) = match path.split_once('.') {
        Some((name, below)) => (name, Some(below)),
        None => (path, None),
    };
    let fresh = Node {
        class,
        is_told: false,
        values: Vec::new(),
        children: Nodes::new(),
    };
    let known = nodes.contains_key(name);
    let node = nodes.entry(name.to_owned()).or_insert(fresh);
    match below {
        None => {
            ensure!(!known, "{name} is there twice");
            if let Some(values) = values {
                node.is_told = values.ends_with('!');
                let values = values.trim_end_matches('!').split('|');
                node.values = values.map(str::to_owned).collect();
            }
        }
        Some(below) => {
            // A structure with one enforced member is enforced.
            if class == Class::Enforced {
                node.class = class;
            }
            let rest = match values {
                Some(values) => format!("{below}={values}"),
                None => below.to_owned(),
            };
            insert(&mut node.children, &rest, class)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let services = parse(
            "service ec2 2016-11-15\nresource vpc\nop CreateVpc\n  enforced A B.C=x|y D=z!\n  recorded B.D\n  note Words here.\nanswer Vpc\n  filled one two? three!\n",
        )
        .unwrap();
        let [service] = services.as_slice() else {
            panic!("one service")
        };
        let [operation] = service.operations.as_slice() else {
            panic!("one operation")
        };
        assert_eq!(operation.resource, "vpc");
        assert_eq!(operation.notes, ["Words here."]);
        let b = &operation.members["B"];
        assert_eq!(b.class, Class::Enforced);
        assert_eq!(b.children["C"].values, ["x", "y"]);
        let d = &operation.members["D"];
        assert!(d.is_told && d.values == ["z"] && !b.children["C"].is_told);
        assert_eq!(b.children["D"].class, Class::Recorded);
        assert!(service.answers["Vpc"][1].optional && !service.answers["Vpc"][1].prepared);
        assert!(service.answers["Vpc"][2].prepared && !service.answers["Vpc"][2].optional);
        assert_eq!(service.answers["Vpc"][2].name, "three");
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, wanted) in [
            ("op X", "line 1"),
            ("service a 1\nresource r\nop X\nenforced A A", "line 4"),
            ("service a 1\nresource r\nop X\nop X", "line 4"),
            ("service a 1\nwhat X", "line 2"),
            ("service a 1\nop X", "X is under no resource"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(format!("{error:#}").contains(wanted), "{error:#}");
        }
    }
}
