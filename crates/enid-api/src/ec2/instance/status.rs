//! DescribeInstanceStatus.
//!
//! Both checks of a running instance pass: an instance runs when its host has seen its sandbox run
//! with all its interfaces up.

use enid_control::InstanceState;
use enid_model::instance::Instance;

use super::describe::candidates;
use super::filter::{Field as InstanceField, Subject};
use super::state;
use crate::context::Context;
use crate::ec2::Ec2;
use crate::ec2::filter::Filters;
use crate::ec2::network_interface::describe::View;
use crate::ec2::page::{Page, USUAL};
use crate::error::ApiError;
use crate::generated::ec2::request::DescribeInstanceStatusRequest;
use crate::generated::ec2::response::{
    DescribeInstanceStatusResponse, InstanceStatus, InstanceStatusDetails, InstanceStatusSummary,
};
use crate::wire::text::Text;

/// What statuses can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Instance(InstanceField),
    Lacking,
    Reachability,
    Status,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "availability-zone"
            | "availability-zone-id"
            | "instance-state-code"
            | "instance-state-name" => Self::Instance(InstanceField::named(name)?),
            "instance-status.reachability" | "system-status.reachability" => Self::Reachability,
            "instance-status.status" | "system-status.status" => Self::Status,
            "attached-ebs-status.status"
            | "event.code"
            | "event.description"
            | "event.instance-event-id"
            | "event.not-after"
            | "event.not-before"
            | "event.not-before-deadline" => Self::Lacking,
            _ => return None,
        })
    }
}

/// DescribeInstanceStatus: of running instances, or of all.
pub(in crate::ec2) async fn describe_instance_status(
    ec2: &Ec2,
    context: &Context,
    request: DescribeInstanceStatusRequest,
) -> Result<DescribeInstanceStatusResponse, ApiError> {
    let filters = Filters::compile(&request.filters, Field::named)?;
    let ids = &request.instance_ids;
    let page = Page::read(
        "DescribeInstanceStatus",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("instanceIds"),
    )?;
    let all = request.include_all_instances.unwrap_or(false);
    let region = ec2.control.see(&context.caller()).await?;
    let view = View::new(context, &region);
    let subjects = candidates(ec2, &region, ids, page.after()?)?;
    let subjects = subjects.into_iter().map(|instance| Subject {
        view: &view,
        instance,
        state: ec2.control.instance_state(instance),
    });
    let matching = subjects.filter(|subject| {
        let running = subject.state == InstanceState::Running;
        (all || running)
            && filters.match_resource(&subject.instance.tags, |field, test| match field {
                Field::Instance(field) => subject.test(field, test),
                Field::Lacking => {}
                Field::Reachability if running => test.text(PASSED),
                Field::Reachability => {}
                Field::Status => test.text(status(subject.state)),
            })
    });
    let (subjects, next_token) = page.take(matching, |subject| subject.instance.id.to_string());
    Ok(DescribeInstanceStatusResponse {
        instance_statuses: subjects.iter().map(answer).collect(),
        next_token,
    })
}

fn answer(subject: &Subject<'_>) -> InstanceStatus {
    let instance: &Instance = subject.instance;
    let summary = Some(summary(subject.state));
    InstanceStatus {
        availability_zone: Some(instance.zone.as_str().into()),
        availability_zone_id: subject.zone_id(),
        events: Vec::new(),
        instance_id: Some(Text::display(instance.id)),
        instance_state: Some(state(subject.state)),
        instance_status: summary.clone(),
        system_status: summary,
    }
}

fn summary(state: InstanceState) -> InstanceStatusSummary {
    let reachability = InstanceStatusDetails {
        impaired_since: None,
        name: Some("reachability".into()),
        status: Some(PASSED.into()),
    };
    let running = state == InstanceState::Running;
    InstanceStatusSummary {
        details: running.then_some(reachability).into_iter().collect(),
        status: Some(status(state).into()),
    }
}

fn status(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Running => "ok",
        InstanceState::Pending => "initializing",
        _ => "not-applicable",
    }
}

const PASSED: &str = "passed";
