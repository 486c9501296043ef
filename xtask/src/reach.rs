//! What an operation's handler can reach in the source: the filters that it knows, and the errors
//! that it can say. The coverage page prints both.
//!
//! The source is read as text, not compiled, so calls are told apart by name: a method is every
//! method of that name that takes as many arguments in the two crates, unless the file itself has one,
//! and words that the standard library has too count within a file only. A function of a type that takes no
//! `self` is no method. A variable is no function of the same name.
//! What is found is an inventory, not a proof.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use syn::visit::{self, Visit};

/// Where handlers and operations are.
const CRATES: [&str; 6] = [
    "crates/enid-api/src/acm",
    "crates/enid-api/src/ec2",
    "crates/enid-api/src/elbv2",
    "crates/enid-api/src/logs",
    "crates/enid-api/src/monitoring",
    "crates/enid-control/src",
];
/// Where the operations of each service of botocore have their handlers.
const HANDLERS: [(&str, &str, &str); 5] = [
    ("acm", "acm", "crates/enid-api/src/acm/mod.rs"),
    (
        "cloudwatch",
        "monitoring",
        "crates/enid-api/src/monitoring/mod.rs",
    ),
    ("ec2", "ec2", "crates/enid-api/src/ec2/mod.rs"),
    ("elbv2", "elbv2", "crates/enid-api/src/elbv2/mod.rs"),
    ("logs", "logs", "crates/enid-api/src/logs/mod.rs"),
];
/// The errors of the control plane, and where each has its code.
const ERRORS: [(&str, &str); 9] = [
    ("Error", "crates/enid-control/src/error.rs"),
    ("AlarmError", "crates/enid-control/src/error/alarms.rs"),
    (
        "AddressingError",
        "crates/enid-control/src/error/addressing.rs",
    ),
    (
        "BalancingError",
        "crates/enid-control/src/error/balancing.rs",
    ),
    (
        "CertificateError",
        "crates/enid-control/src/error/certificate.rs",
    ),
    (
        "ComputingError",
        "crates/enid-control/src/error/computing.rs",
    ),
    (
        "MetadataError",
        "crates/enid-control/src/error/instance_metadata.rs",
    ),
    (
        "MirroringError",
        "crates/enid-control/src/error/mirroring.rs",
    ),
    ("RoutingError", "crates/enid-control/src/error/routing.rs"),
];
/// Errors of the control plane that any operation can say.
const EVERYWHERE: [&str; 5] = [
    "Error::DryRun",
    "Error::NotEnforced",
    "Error::StoreFull",
    "Error::StoreStopped",
    "Error::TooManyRivals",
];

/// The functions of the two crates, by name.
pub(crate) struct Source {
    functions: Vec<Function>,
    by_name: BTreeMap<String, Vec<usize>>,
    /// File and name, to the module that the name is imported from.
    imports: BTreeMap<(String, String), String>,
    /// File and name of types that have methods there.
    types: BTreeSet<(String, String)>,
    /// By service, then operation: the file as a module path, and the function.
    handlers: BTreeMap<&'static str, BTreeMap<String, (String, String)>>,
    /// By `Error::Name`.
    codes: BTreeMap<String, String>,
}

struct Function {
    /// The file's path as a module path: `ec2/instance/describe`.
    file: String,
    /// The type that it is a method of.
    owner: Option<String>,
    /// How many arguments it takes as a method; `None` if it is none.
    arguments: Option<usize>,
    mentions: Mentions,
}

/// What a function's body names.
#[derive(Default)]
struct Mentions {
    /// Paths: their last two segments.
    paths: BTreeSet<(Option<String>, String)>,
    /// The variables in scope while the body is visited.
    variables: Vec<String>,
    /// Methods that are called, with the number of arguments.
    methods: BTreeSet<(String, usize)>,
    errors: BTreeSet<String>,
    codes: BTreeSet<String>,
    /// Texts that arms of a `match` and comparisons hold a filter's name against.
    patterns: BTreeSet<String>,
    compiles_filters: bool,
    names_fields: bool,
}

impl Mentions {
    /// Visits something that has variables of its own.
    fn scoped(&mut self, visit: impl FnOnce(&mut Self)) {
        let outer = self.variables.len();
        visit(self);
        self.variables.truncate(outer);
    }
}

/// What an operation can reach.
#[derive(Default)]
pub(crate) struct Reached {
    pub(crate) filters: BTreeSet<String>,
    pub(crate) errors: BTreeSet<String>,
}

impl Source {
    /// Reads the crates.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut functions = Vec::new();
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut imports = BTreeMap::new();
        let mut types = BTreeSet::new();
        for home in CRATES {
            for path in rust_files(&root.join(home))? {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("read {}", path.display()))?;
                let file =
                    syn::parse_file(&text).with_context(|| format!("parse {}", path.display()))?;
                let mut collector = Collector {
                    file: module_path(root, &path),
                    owner: None,
                    found: Vec::new(),
                    imports: Vec::new(),
                };
                collector.visit_file(&file);
                for (name, home) in collector.imports {
                    imports.insert((collector.file.clone(), name), home);
                }
                for (name, function) in collector.found {
                    if let Some(owner) = &function.owner {
                        types.insert((function.file.clone(), owner.clone()));
                    }
                    by_name.entry(name).or_default().push(functions.len());
                    functions.push(function);
                }
            }
        }
        let text =
            |path| fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
        let mut handlers = BTreeMap::new();
        for (service, home, path) in HANDLERS {
            handlers.insert(service, self::handlers(home, &text(path)?));
        }
        let mut codes = BTreeMap::new();
        for (of, path) in ERRORS {
            let read = self::codes(&text(path)?).into_iter();
            codes.extend(read.map(|(name, code)| (format!("{of}::{name}"), code)));
        }
        Ok(Self {
            functions,
            by_name,
            imports,
            types,
            handlers,
            codes,
        })
    }

    /// What an operation can reach; nothing if it has no handler here.
    pub(crate) fn reached(&self, service: &str, operation: &str) -> Reached {
        let mut reached = Reached::default();
        let handlers = self.handlers.get(service);
        let Some((home, name)) = handlers.and_then(|of| of.get(operation)) else {
            return reached;
        };
        let candidates = self.by_name.get(name).into_iter().flatten();
        let mut open: Vec<usize> = candidates
            .copied()
            .filter(|index| self.functions[*index].file == *home)
            .collect();
        let mut seen: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(index) = open.pop() {
            let function = &self.functions[index];
            let mentions = &function.mentions;
            for error in &mentions.errors {
                if !EVERYWHERE.contains(&&**error)
                    && let Some(code) = self.codes.get(error)
                {
                    reached.errors.insert(code.clone());
                }
            }
            reached.errors.extend(mentions.codes.iter().cloned());
            if mentions.compiles_filters || mentions.names_fields {
                reached.filters.extend(mentions.patterns.iter().cloned());
            }
            for next in self.next(function) {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        reached
    }

    /// Whether the function's own file has methods of a type of this name.
    fn has_type(&self, function: &Function, name: &str) -> bool {
        self.types
            .contains(&(function.file.clone(), name.to_owned()))
    }

    /// The functions that a function names.
    fn next(&self, function: &Function) -> Vec<usize> {
        let mut found = Vec::new();
        let of = |name: &str| self.by_name.get(name).cloned().unwrap_or_default();
        for (qualifier, name) in &function.mentions.paths {
            let here = |other: &Function| other.file == function.file;
            // A name without a path is of this file, or comes in by an import.
            let import = |name: &str| self.imports.get(&(function.file.clone(), name.to_owned()));
            let imported = import(name);
            let fits = |index: &usize| {
                let other = &self.functions[*index];
                match (qualifier.as_deref(), &other.owner) {
                    (Some("Self"), owner) => here(other) && *owner == function.owner,
                    // A type of the file hides those of the same name elsewhere.
                    (Some(qualifier), Some(owner)) => {
                        let is_there = match import(qualifier) {
                            Some(home) => is_module(&other.file, home),
                            None => here(other) || !self.has_type(function, qualifier),
                        };
                        owner == qualifier && is_there
                    }
                    (Some(qualifier), None) => is_module(&other.file, qualifier),
                    (None, None) => {
                        here(other) || imported.is_some_and(|home| is_module(&other.file, home))
                    }
                    (None, Some(_)) => false,
                }
            };
            found.extend(of(name).into_iter().filter(fits));
        }
        for (name, arguments) in &function.mentions.methods {
            let methods: Vec<usize> = of(name)
                .into_iter()
                .filter(|index| self.functions[*index].arguments == Some(*arguments))
                .collect();
            let own: Vec<usize> = methods
                .iter()
                .copied()
                .filter(|index| self.functions[*index].file == function.file)
                .collect();
            found.extend(match (own.is_empty(), methods.len()) {
                (false, _) => own,
                (true, ..=METHODS_MAX) if !COMMON_METHODS.contains(&&**name) => methods,
                // A word that everything has, such as `len`: of no use.
                (true, _) => Vec::new(),
            });
        }
        found
    }
}

/// How many types may have a method of one name for the name to tell something.
const METHODS_MAX: usize = 2;

/// Methods of the standard library's types that types here have as well.
const COMMON_METHODS: [&str; 9] = [
    "choose", "count", "create", "find", "get", "insert", "remove", "resolve", "take",
];

/// Whether a file is the module of a name: `ec2/vpc` is `vpc`.
fn is_module(file: &str, name: &str) -> bool {
    file.rsplit('/').next() == Some(name)
}

struct Collector {
    file: String,
    owner: Option<String>,
    found: Vec<(String, Function)>,
    /// Names, and the module that each is imported from.
    imports: Vec<(String, String)>,
}

impl Collector {
    fn take(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (name, returns) = (&signature.ident, &signature.output);
        let mut mentions = Mentions::default();
        mentions.visit_signature(signature);
        mentions.visit_block(body);
        // An error that may be none is no field.
        let is_of_error = self.owner.as_ref().is_some_and(|of| of.ends_with("Error"));
        mentions.names_fields = !is_of_error && returns_field(returns);
        self.found.push((
            name.to_string(),
            Function {
                file: self.file.clone(),
                owner: self.owner.clone(),
                arguments: signature
                    .receiver()
                    .map(|_| signature.inputs.len().saturating_sub(1)),
                mentions,
            },
        ));
    }
}

/// Whether a function finds what a filter's name stands for: it returns `Option<Field>` or
/// `Option<Self>`.
fn returns_field(returns: &syn::ReturnType) -> bool {
    let syn::ReturnType::Type(_, returned) = returns else {
        return false;
    };
    let syn::Type::Path(path) = &**returned else {
        return false;
    };
    let last = path.path.segments.last();
    last.filter(|segment| segment.ident == "Option")
        .is_some_and(|segment| {
            let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else {
                return false;
            };
            arguments.args.iter().any(|argument| match argument {
                syn::GenericArgument::Type(syn::Type::Path(inner)) => {
                    inner.path.is_ident("Self")
                        || inner
                            .path
                            .segments
                            .last()
                            .is_some_and(|segment| segment.ident.to_string().ends_with("Field"))
                }
                _ => false,
            })
        })
}

impl Visit<'_> for Collector {
    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.take(&item.sig, &item.block);
    }

    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        let owner = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        let before = std::mem::replace(&mut self.owner, owner);
        visit::visit_item_impl(self, item);
        self.owner = before;
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        self.take(&item.sig, &item.block);
    }

    fn visit_use_path(&mut self, path: &syn::UsePath) {
        let home = path.ident.to_string();
        match &*path.tree {
            syn::UseTree::Name(name) => self.imports.push((name.ident.to_string(), home)),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    if let syn::UseTree::Name(name) = tree {
                        self.imports.push((name.ident.to_string(), home.clone()));
                    }
                }
            }
            _ => {}
        }
        visit::visit_use_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        let is_test = item
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("cfg"));
        if !is_test {
            visit::visit_item_mod(self, item);
        }
    }
}

impl Visit<'_> for Mentions {
    fn visit_path(&mut self, path: &syn::Path) {
        let mut segments = path
            .segments
            .iter()
            .rev()
            .map(|segment| segment.ident.to_string());
        if let Some(last) = segments.next() {
            let qualifier = segments.next();
            if let Some(of) = qualifier.as_deref()
                && ERRORS.iter().any(|(error, _)| *error == of)
            {
                self.errors.insert(format!("{of}::{last}"));
            }
            if qualifier.as_deref() == Some("Filters") && last == "compile" {
                self.compiles_filters = true;
            }
            // A variable is no function, whatever function has the same name.
            if qualifier.is_some() || !self.variables.contains(&last) {
                self.paths.insert((qualifier, last));
            }
        }
        visit::visit_path(self, path);
    }

    fn visit_block(&mut self, block: &syn::Block) {
        self.scoped(|own| visit::visit_block(own, block));
    }

    fn visit_local(&mut self, local: &syn::Local) {
        // What it is made from does not know it yet.
        if let Some(init) = &local.init {
            self.visit_local_init(init);
        }
        self.visit_pat(&local.pat);
    }

    fn visit_expr_let(&mut self, binding: &syn::ExprLet) {
        self.visit_expr(&binding.expr);
        self.visit_pat(&binding.pat);
    }

    fn visit_expr_if(&mut self, branch: &syn::ExprIf) {
        self.scoped(|own| {
            own.visit_expr(&branch.cond);
            own.visit_block(&branch.then_branch);
        });
        if let Some((_, otherwise)) = &branch.else_branch {
            self.visit_expr(otherwise);
        }
    }

    fn visit_expr_while(&mut self, repeat: &syn::ExprWhile) {
        self.scoped(|own| visit::visit_expr_while(own, repeat));
    }

    fn visit_expr_for_loop(&mut self, repeat: &syn::ExprForLoop) {
        self.visit_expr(&repeat.expr);
        self.scoped(|own| {
            own.visit_pat(&repeat.pat);
            own.visit_block(&repeat.body);
        });
    }

    fn visit_expr_closure(&mut self, closure: &syn::ExprClosure) {
        self.scoped(|own| visit::visit_expr_closure(own, closure));
    }

    fn visit_arm(&mut self, arm: &syn::Arm) {
        self.scoped(|own| visit::visit_arm(own, arm));
    }

    fn visit_expr_method_call(&mut self, call: &syn::ExprMethodCall) {
        self.methods
            .insert((call.method.to_string(), call.args.len()));
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &syn::ExprCall) {
        // ApiError::new("Code", …)
        if let syn::Expr::Path(path) = &*call.func
            && ends_with(&path.path, "ApiError", "new")
            && let Some(syn::Expr::Lit(literal)) = call.args.first()
            && let syn::Lit::Str(code) = &literal.lit
        {
            self.codes.insert(code.value());
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_pat(&mut self, pattern: &syn::Pat) {
        if let syn::Pat::Lit(literal) = pattern
            && let syn::Lit::Str(text) = &literal.lit
        {
            self.patterns.insert(text.value());
        }
        if let syn::Pat::Ident(variable) = pattern {
            self.variables.push(variable.ident.to_string());
        }
        visit::visit_pat(self, pattern);
    }

    fn visit_expr_binary(&mut self, binary: &syn::ExprBinary) {
        if matches!(binary.op, syn::BinOp::Eq(_))
            && let syn::Expr::Lit(literal) = &*binary.right
            && let syn::Lit::Str(text) = &literal.lit
        {
            self.patterns.insert(text.value());
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        // matches!(name, "a" | "b"), and expressions inside assertions and formats.
        for token in call.tokens.clone() {
            if let proc_macro2::TokenTree::Literal(literal) = token
                && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                && call.path.is_ident("matches")
            {
                self.patterns.insert(text.value());
            }
        }
    }
}

/// Whether a path is `….first.second`.
fn ends_with(path: &syn::Path, first: &str, second: &str) -> bool {
    let mut segments = path.segments.iter().rev();
    segments
        .next()
        .is_some_and(|segment| segment.ident == second)
        && segments
            .next()
            .is_some_and(|segment| segment.ident == first)
}

fn rust_files(home: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![home.to_owned()];
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// `crates/enid-api/src/ec2/instance/describe.rs` is `ec2/instance/describe`; the file `mod.rs` of a folder
/// has the folder's name.
fn module_path(root: &Path, path: &Path) -> String {
    let short = path.strip_prefix(root).unwrap_or(path).with_extension("");
    let text = short.to_string_lossy().replace('\\', "/");
    let inside = text
        .split_once("/src/")
        .map_or(&*text, |(_, inside)| inside);
    inside.strip_suffix("/mod").unwrap_or(inside).to_owned()
}

/// `CreateVpc => vpc::create_vpc,` of the handlers' table, below the folder of the service.
fn handlers(home: &str, text: &str) -> BTreeMap<String, (String, String)> {
    let lines = text.lines().filter_map(|line| {
        let (operation, path) = line.trim().strip_suffix(',')?.split_once(" => ")?;
        let (modules, name) = path.rsplit_once("::").unwrap_or(("", path));
        let file = match modules {
            "" => home.to_owned(),
            modules => format!("{home}/{}", modules.replace("::", "/")),
        };
        let is_operation = operation.chars().all(char::is_alphanumeric);
        is_operation.then(|| (operation.to_owned(), (file, name.to_owned())))
    });
    lines.collect()
}

/// `VpcInUse { id: VpcId } => "DependencyViolation",` of the errors' table.
fn codes(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut name = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("///") || line.starts_with('#') {
            continue;
        }
        let word: String = line
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        if word.starts_with(|c: char| c.is_ascii_uppercase()) {
            name = Some(word);
        }
        let code = line
            .split_once("=> \"")
            .and_then(|(_, rest)| rest.split_once('"'));
        if let (Some((code, _)), Some(name)) = (code, name.take()) {
            found.insert(name, code.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let text = "    CreateVpc => vpc::create_vpc,\n    A => b::c::d,\n    x => y,";
        let found = handlers("ec2", text);
        let path = |file: &str, name: &str| (file.to_owned(), name.to_owned());
        assert_eq!(found.get("CreateVpc"), Some(&path("ec2/vpc", "create_vpc")));
        assert_eq!(found.get("A"), Some(&path("ec2/b/c", "d")));
        let found =
            codes("/// Gone.\nVpcInUse { id: VpcId } => \"DependencyViolation\",\n    \"text\";");
        assert_eq!(
            found.get("VpcInUse").map(String::as_str),
            Some("DependencyViolation")
        );
    }

    #[test]
    fn a_handler_reaches_the_filters_and_errors_of_what_it_calls() -> Result<()> {
        let source = Source::read(&crate::root()?)?;
        let describe = source.reached("ec2", "DescribeVpcs");
        assert!(
            describe
                .filters
                .contains("cidr-block-association.cidr-block")
        );
        assert!(!describe.filters.contains("attachment.instance-id"));
        let delete = source.reached("ec2", "DeleteVpc");
        assert!(delete.errors.contains("DependencyViolation"));
        assert!(!delete.errors.contains("AttachmentLimitExceeded"));
        let route = source.reached("ec2", "CreateRoute");
        assert!(route.errors.contains("RouteAlreadyExists"));
        assert!(
            source
                .reached("ec2", "CreateNetworkInterface")
                .errors
                .contains("InvalidIPAddress.InUse")
        );
        // Interfaces have variables that are called as a function of volumes is.
        let of_devices = "InvalidBlockDeviceMapping";
        assert!(
            source
                .reached("ec2", "RunInstances")
                .errors
                .contains(of_devices)
        );
        assert!(!route.errors.contains(of_devices));
        // What checks a launch is called as what checks an interface's addresses is, and is no method.
        for operation in ["AttachNetworkInterface", "CreateNetworkInterface"] {
            let reached = source.reached("ec2", operation).errors;
            assert!(!reached.contains(of_devices), "{operation}");
            assert!(reached.contains("PrivateIpAddressLimitExceeded"));
        }
        assert!(source.reached("ec2", "NoSuchOperation").errors.is_empty());
        Ok(())
    }
}
