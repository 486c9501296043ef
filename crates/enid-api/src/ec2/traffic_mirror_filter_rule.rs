//! Rules of filters of traffic mirroring.

use std::str::FromStr;

use enid_control::{CreateTrafficMirrorFilterRule, MirrorRuleField, ModifyTrafficMirrorFilterRule};
use enid_model::id::{TrafficMirrorFilterId, TrafficMirrorFilterRuleId};
use enid_model::security_group::Direction;
use enid_model::state::RegionState;
use enid_model::traffic_mirror::{MirrorAction, PortRange, TrafficMirrorFilterRule};

use super::filter::Filters;
use super::page::{Page, USUAL};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateTrafficMirrorFilterRuleRequest, DeleteTrafficMirrorFilterRuleRequest,
    DescribeTrafficMirrorFilterRulesRequest, ModifyTrafficMirrorFilterRuleRequest,
    TrafficMirrorPortRangeRequest,
};
use crate::generated::ec2::response::{
    self, CreateTrafficMirrorFilterRuleResponse, DeleteTrafficMirrorFilterRuleResponse,
    DescribeTrafficMirrorFilterRulesResponse, ModifyTrafficMirrorFilterRuleResponse,
    TrafficMirrorPortRange,
};
use crate::wire::text::Text;

/// CreateTrafficMirrorFilterRule.
pub(super) async fn create_traffic_mirror_filter_rule(
    ec2: &Ec2,
    context: &Context,
    request: CreateTrafficMirrorFilterRuleRequest,
) -> Result<CreateTrafficMirrorFilterRuleResponse, ApiError> {
    let input = CreateTrafficMirrorFilterRule {
        filter: id::parse(&request.traffic_mirror_filter_id)?,
        direction: direction(&request.traffic_direction),
        number: request.rule_number,
        action: action(&request.rule_action),
        protocol: request.protocol,
        source_ports: request.source_port_range.map(ports),
        destination_ports: request.destination_port_range.map(ports),
        source: request.source_cidr_block,
        destination: request.destination_cidr_block,
        description: request.description.filter(|text| !text.is_empty()),
        client_token: request.client_token.filter(|token| !token.is_empty()),
        tags: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let made = ec2
        .control
        .create_traffic_mirror_filter_rule(&caller, &input);
    let (filter, rule) = made.await?;
    Ok(CreateTrafficMirrorFilterRuleResponse {
        traffic_mirror_filter_rule: Some(answer(filter, &rule)),
        client_token: input.client_token.map(Text::from),
    })
}

// The parser lets only AWS's words pass: here and in the next two functions, the last arm is the
// last of them.
fn direction(text: &str) -> Direction {
    match text {
        EGRESS => Direction::Egress,
        _ => Direction::Ingress,
    }
}

fn action(text: &str) -> MirrorAction {
    match text {
        ACCEPT => MirrorAction::Accept,
        _ => MirrorAction::Reject,
    }
}

fn removed(text: &str) -> MirrorRuleField {
    match text {
        "description" => MirrorRuleField::Description,
        "destination-port-range" => MirrorRuleField::DestinationPorts,
        "protocol" => MirrorRuleField::Protocol,
        _ => MirrorRuleField::SourcePorts,
    }
}

fn ports(range: TrafficMirrorPortRangeRequest) -> (Option<i32>, Option<i32>) {
    (range.from_port, range.to_port)
}

/// ModifyTrafficMirrorFilterRule. Its answer is without the rule's tags, as AWS's.
pub(super) async fn modify_traffic_mirror_filter_rule(
    ec2: &Ec2,
    context: &Context,
    request: ModifyTrafficMirrorFilterRuleRequest,
) -> Result<ModifyTrafficMirrorFilterRuleResponse, ApiError> {
    let rule = id::parse(&request.traffic_mirror_filter_rule_id)?;
    let remove = request.remove_fields.iter();
    let new_direction = request.traffic_direction.as_deref();
    let new_action = request.rule_action.as_deref();
    let input = ModifyTrafficMirrorFilterRule {
        direction: new_direction.map(direction),
        number: request.rule_number,
        action: new_action.map(action),
        protocol: request.protocol,
        source_ports: request.source_port_range.map(ports),
        destination_ports: request.destination_port_range.map(ports),
        source: request.source_cidr_block,
        destination: request.destination_cidr_block,
        description: request.description,
        remove: remove.map(|field| removed(field)).collect(),
    };
    let caller = context.caller();
    let (filter, rule) = ec2
        .control
        .modify_traffic_mirror_filter_rule(&caller, rule, &input)
        .await?;
    Ok(ModifyTrafficMirrorFilterRuleResponse {
        traffic_mirror_filter_rule: Some(response::TrafficMirrorFilterRule {
            tags: Vec::new(),
            ..answer(filter, &rule)
        }),
    })
}

/// DeleteTrafficMirrorFilterRule.
pub(super) async fn delete_traffic_mirror_filter_rule(
    ec2: &Ec2,
    context: &Context,
    request: DeleteTrafficMirrorFilterRuleRequest,
) -> Result<DeleteTrafficMirrorFilterRuleResponse, ApiError> {
    let rule = id::parse(&request.traffic_mirror_filter_rule_id)?;
    let caller = context.caller();
    let gone = ec2.control.delete_traffic_mirror_filter_rule(&caller, rule);
    gone.await?;
    Ok(DeleteTrafficMirrorFilterRuleResponse {
        traffic_mirror_filter_rule_id: Some(Text::display(rule)),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Action,
    Description,
    Destination,
    Direction,
    FilterId,
    Id,
    Number,
    Protocol,
    Source,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "description" => Field::Description,
        "destination-cidr-block" => Field::Destination,
        "protocol" => Field::Protocol,
        "rule-action" => Field::Action,
        "rule-number" => Field::Number,
        "source-cidr-block" => Field::Source,
        "traffic-direction" => Field::Direction,
        "traffic-mirror-filter-id" => Field::FilterId,
        "traffic-mirror-filter-rule-id" => Field::Id,
        _ => return None,
    })
}

/// The place of a rule in the list of all: by filter, then by id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    filter: TrafficMirrorFilterId,
    rule: TrafficMirrorFilterRuleId,
}

impl FromStr for Place {
    /// Nobody asks why: the page says that the token is wrong.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (filter, rule) = text.split_once('/').ok_or(())?;
        Ok(Self {
            filter: filter.parse().or(Err(()))?,
            rule: rule.parse().or(Err(()))?,
        })
    }
}

type RuleOf<'a> = (Place, &'a TrafficMirrorFilterRule);

/// DescribeTrafficMirrorFilterRules: those with the ids, those of a filter, or all.
pub(super) async fn describe_traffic_mirror_filter_rules(
    ec2: &Ec2,
    context: &Context,
    request: DescribeTrafficMirrorFilterRulesRequest,
) -> Result<DescribeTrafficMirrorFilterRulesResponse, ApiError> {
    let ids = request.traffic_mirror_filter_rule_ids;
    let named = (!ids.is_empty()).then_some("trafficMirrorFilterRuleIds");
    let page = Page::read(
        "DescribeTrafficMirrorFilterRules",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        named,
    )?;
    let filters = Filters::compile(&request.filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<Place> = page.after()?;
    let of_filter: Vec<String> = request.traffic_mirror_filter_id.into_iter().collect();
    let of_filter = id::find(&of_filter, &region.traffic_mirror_filters)?;
    let mut rules = if named.is_some() {
        selected(&region, &ids)?
    } else {
        all(&region)
    };
    rules.retain(|(place, rule)| {
        after.is_none_or(|after| *place > after)
            && (of_filter.is_empty() || of_filter.contains_key(&place.filter))
            && filters.match_resource(&rule.tags, |field, test| match field {
                Field::Action => test.text(action_in_words(rule.action)),
                Field::Description => rule.description.iter().for_each(|text| test.text(text)),
                Field::Destination => test.display(rule.destination),
                Field::Direction => test.text(direction_in_words(rule.direction)),
                Field::FilterId => test.display(place.filter),
                Field::Id => test.display(rule.id),
                Field::Number => test.display(rule.number),
                Field::Protocol => rule.protocol.iter().for_each(|own| test.display(own)),
                Field::Source => test.display(rule.source),
            })
    });
    let (rules, next_token) = page.take(rules.into_iter(), |(Place { filter, rule }, _)| {
        format!("{filter}/{rule}")
    });
    let rules = rules.into_iter();
    Ok(DescribeTrafficMirrorFilterRulesResponse {
        traffic_mirror_filter_rules: rules
            .map(|(place, rule)| answer(place.filter, rule))
            .collect(),
        next_token,
    })
}

/// Every rule, in the order of their places.
fn all(region: &RegionState) -> Vec<RuleOf<'_>> {
    let filters = region.traffic_mirror_filters.values();
    let rules = filters.flat_map(|filter| {
        let rules = filter.rules.values();
        rules.map(|rule| (place(filter.id, rule), rule))
    });
    rules.collect()
}

fn place(filter: TrafficMirrorFilterId, rule: &TrafficMirrorFilterRule) -> Place {
    let rule = rule.id;
    Place { filter, rule }
}

/// The rules that a request names by id, in the order of their places, each once.
fn selected<'a>(region: &'a RegionState, ids: &[String]) -> Result<Vec<RuleOf<'a>>, ApiError> {
    let mut absent: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for text in ids {
        // A well-formed id that is not native is unknown, so that both are told the same way.
        let rule = match id::parse::<TrafficMirrorFilterRuleId>(text) {
            Ok(id) => region.traffic_mirror_filter_of_rule(id).and_then(|filter| {
                let rule = filter.rules.get(&id)?;
                Some((place(filter.id, rule), rule))
            }),
            Err(error) if error.code().ends_with(".NotFound") => None,
            Err(error) => return Err(error),
        };
        match rule {
            Some(rule) => found.push(rule),
            None => absent.push(text),
        }
    }
    if !absent.is_empty() {
        return Err(id::not_found("tmfr", &absent));
    }
    found.sort_unstable_by_key(|(place, _)| *place);
    found.dedup_by_key(|(place, _)| *place);
    Ok(found)
}

/// A rule of a filter in an answer.
pub(super) fn answer(
    filter: TrafficMirrorFilterId,
    rule: &TrafficMirrorFilterRule,
) -> response::TrafficMirrorFilterRule {
    let range = |PortRange { from, to }| TrafficMirrorPortRange {
        from_port: Some(from.into()),
        to_port: Some(to.into()),
    };
    response::TrafficMirrorFilterRule {
        traffic_mirror_filter_rule_id: Some(Text::display(rule.id)),
        traffic_mirror_filter_id: Some(Text::display(filter)),
        traffic_direction: Some(direction_in_words(rule.direction).into()),
        rule_number: Some(rule.number.into()),
        rule_action: Some(action_in_words(rule.action).into()),
        protocol: rule.protocol.map(i32::from),
        destination_port_range: rule.destination_ports.map(range),
        source_port_range: rule.source_ports.map(range),
        destination_cidr_block: Some(Text::display(rule.destination)),
        source_cidr_block: Some(Text::display(rule.source)),
        description: rule.description.as_deref().map(Text::from),
        tags: tag::answer(&rule.tags),
    }
}

fn direction_in_words(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => EGRESS,
        Direction::Ingress => INGRESS,
    }
}

fn action_in_words(action: MirrorAction) -> &'static str {
    match action {
        MirrorAction::Accept => ACCEPT,
        MirrorAction::Reject => REJECT,
    }
}

const ACCEPT: &str = "accept";
const REJECT: &str = "reject";
const EGRESS: &str = "egress";
const INGRESS: &str = "ingress";
