//! A client of a region of its own: forms in, XML out.

use std::sync::Arc;

use enid_api::context::{Context, RequestIds};
use enid_api::ec2::Ec2;
use enid_api::generated::ec2::operations::Request;
use enid_api::wire::envelope::Dialect;
use enid_api::wire::form::parse_form;
use enid_control::Control;
use enid_model::key::AccountId;
use enid_model::region::Region;
use enid_model::time::{Clock, Timestamp};
use enid_store::Store;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// It is always 2026-01-02T03:04:05Z.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp(1_767_323_045_000)
    }
}

/// A client of its own control plane.
pub(crate) struct Client {
    ec2: Ec2,
    context: Context,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub(crate) fn new() -> Self {
        let store = Store::in_memory().unwrap();
        let random = StdRng::seed_from_u64(1);
        let control = Control::new(store, Arc::new(Stopped), random);
        Self {
            ec2: Ec2::new(Arc::new(control)),
            context: Context {
                account: AccountId::DEFAULT,
                region: Region::named("eu-west-1").unwrap(),
                access_key_id: String::new(),
                permissions: None,
                request_id: RequestIds::new(1).next(),
                dry_run: false,
                asked: None,
            },
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// What a call answers, or how it is refused: `Code: Message`.
    pub(crate) fn ask(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Answer, String> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters);
        let form = form.finish();
        let form = parse_form(form.as_bytes()).unwrap();
        let answered = Request::parse(action, form.params()).and_then(|request| {
            let operation = request.operation();
            let answer = self.ec2.call(&self.context, request);
            let answer = self.runtime.block_on(answer)?;
            Ok(Dialect::ec2_success(operation, &answer, "request"))
        });
        let answered = answered.map(Answer);
        answered.map_err(|error| format!("{}: {}", error.code(), error.message()))
    }

    /// A call that must succeed.
    pub(crate) fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Answer {
        match self.ask(action, parameters) {
            Ok(answer) => answer,
            Err(error) => panic!("{action} {parameters:?}: {error}"),
        }
    }

    /// The code of a call that must be refused.
    pub(crate) fn refused(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        match self.ask(action, parameters) {
            Ok(answer) => panic!("{action} {parameters:?}: {answer:?}"),
            Err(error) => error.split(':').next().unwrap_or_default().to_owned(),
        }
    }

    /// The resources that a Describe operation finds by one filter: the texts of `element`.
    pub(crate) fn filtered(
        &self,
        action: &str,
        element: &str,
        filter: (&str, &str),
    ) -> Vec<String> {
        let (name, value) = filter;
        let answer = self.call(
            action,
            &[("Filter.1.Name", name), ("Filter.1.Value.1", value)],
        );
        let found = answer.all(element);
        found.into_iter().map(str::to_owned).collect()
    }
}

/// The XML of an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer(String);

impl Answer {
    /// The texts of all elements with a name that have no elements in them.
    pub(crate) fn all(&self, element: &str) -> Vec<&str> {
        let open = format!("<{element}>");
        let pieces = self.0.split(open.as_str()).skip(1);
        pieces
            .filter_map(|piece| piece.split_once('<'))
            .filter(|(_, rest)| rest.starts_with(&format!("/{element}>")))
            .map(|(text, _)| text)
            .collect()
    }

    /// The text of the first such element.
    pub(crate) fn first(&self, element: &str) -> String {
        let all = self.all(element);
        let first = all.first();
        first
            .map(|text| (*text).to_owned())
            .unwrap_or_else(|| panic!("no {element} in {self:?}"))
    }

    /// Whether the XML holds this text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        self.0.contains(text)
    }
}
