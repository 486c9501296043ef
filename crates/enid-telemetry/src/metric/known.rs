//! Which metrics there are, and when each had its latest datapoint.
//!
//! Interfaces come and go, and what they counted is listed for two weeks: there are many metrics, of few
//! names, and those of one interface have the same dimensions. So dimensions are kept once for all metrics
//! that have them, and names once for all: some twenty bytes for a metric of an interface.

use std::collections::{BTreeMap, HashMap};

use enid_model::key::Scope;
use enid_model::time::Timestamp;

use super::identity::Identity;

/// An account and a region by their names.
type Place = (String, String);

/// All metrics.
#[derive(Debug, Default)]
pub(super) struct Known {
    places: BTreeMap<Place, BTreeMap<Box<str>, Vec<Latest>>>,
    names: Names,
    /// How many there are, over all accounts and regions.
    count: usize,
}

/// A metric of the dimensions that it is kept under.
#[derive(Debug, Clone, Copy)]
struct Latest {
    /// Its namespace and name, as a number.
    name: u32,
    /// When its latest datapoint was.
    time: Timestamp,
}

/// Namespaces and names by numbers.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<(String, String), u32>,
    of_number: Vec<(String, String)>,
}

impl Names {
    fn number(&mut self, metric: &Identity) -> u32 {
        let name = (metric.namespace.clone(), metric.name.clone());
        let next = u32::try_from(self.of_number.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(name.clone()).or_insert(next);
        if number == next {
            self.of_number.push(name);
        }
        number
    }

    fn find(&self, metric: &Identity) -> Option<u32> {
        let name = (metric.namespace.clone(), metric.name.clone());
        self.numbers.get(&name).copied()
    }

    fn of(&self, number: u32) -> Option<&(String, String)> {
        self.of_number.get(number as usize)
    }
}

/// What parts the names and values of dimensions; no part has it.
const PART: char = '\u{1f}';

fn written(metric: &Identity) -> Box<str> {
    let mut text = String::new();
    for (name, value) in metric.dimensions() {
        for part in [name, value] {
            text.push_str(part);
            text.push(PART);
        }
    }
    text.into_boxed_str()
}

fn read(text: &str, (namespace, name): &(String, String)) -> Option<Identity> {
    let parts: Vec<&str> = text.split_terminator(PART).collect();
    let pairs = parts.chunks_exact(2);
    let dimensions = pairs.map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
    Identity::new(namespace, name, dimensions.collect()).ok()
}

fn place(scope: &Scope) -> Place {
    (scope.account.to_string(), scope.region.as_str().to_owned())
}

impl Known {
    /// Whether there is such a metric.
    pub(super) fn has(&self, scope: &Scope, metric: &Identity) -> bool {
        let found = || {
            let of = self.places.get(&place(scope))?.get(&written(metric))?;
            let name = self.names.find(metric)?;
            of.iter().find(|latest| latest.name == name)
        };
        found().is_some()
    }

    /// Notes that a metric, by its key, has a datapoint of this time.
    pub(super) fn note(&mut self, key: &str, time: Timestamp) {
        let Some((account, region, metric)) = Identity::of_key(key) else {
            return;
        };
        let place = (account.to_owned(), region.to_owned());
        let name = self.names.number(&metric);
        let of = self.places.entry(place).or_default();
        let of = of.entry(written(&metric)).or_default();
        match of.iter_mut().find(|latest| latest.name == name) {
            Some(latest) => latest.time = latest.time.max(time),
            None => {
                of.push(Latest { name, time });
                self.count += 1;
            }
        }
    }

    /// The metrics of an account and region that had a datapoint since, in order.
    pub(super) fn since(&self, scope: &Scope, since: Timestamp) -> Vec<Identity> {
        let Some(of) = self.places.get(&place(scope)) else {
            return Vec::new();
        };
        let metrics = of.iter().flat_map(|(dimensions, of)| {
            let fresh = of.iter().filter(|latest| latest.time >= since);
            fresh.filter_map(|latest| read(dimensions, self.names.of(latest.name)?))
        });
        let mut metrics: Vec<Identity> = metrics.collect();
        metrics.sort();
        metrics
    }

    /// Every metric by its key, with the time of its latest datapoint.
    pub(super) fn all(&self) -> Vec<(String, Timestamp)> {
        let mut all = Vec::with_capacity(self.count);
        for ((account, region), of) in &self.places {
            for (dimensions, of) in of {
                all.extend(of.iter().filter_map(|latest| {
                    let metric = read(dimensions, self.names.of(latest.name)?)?;
                    Some((metric.key_in(account, region), latest.time))
                }));
            }
        }
        all
    }

    /// Forgets the metrics whose latest datapoint is older.
    pub(super) fn forget(&mut self, oldest: Timestamp) {
        self.retain(|_name, time| time >= oldest);
    }

    /// Forgets those that this installation published and that had their latest datapoint longest ago, until
    /// there is room for so many more below a bound. What users put themselves is kept. False if there is no
    /// room.
    pub(super) fn make_room(&mut self, wanted: usize, bound: usize) -> bool {
        if self.count + wanted <= bound {
            return true;
        }
        // Some more than needed: this looks at all of them.
        let too_many = (self.count + wanted - bound).max(bound / 20);
        let is_own: Vec<bool> = self.names.of_number.iter().map(is_published).collect();
        let is_own = |name: u32| is_own.get(name as usize).copied().unwrap_or(false);
        let latest = self.places.values().flat_map(BTreeMap::values).flatten();
        let mut times: Vec<Timestamp> = latest
            .filter(|latest| is_own(latest.name))
            .map(|latest| latest.time)
            .collect();
        if times.is_empty() {
            return false;
        }
        let last = too_many.min(times.len()) - 1;
        let (_, newest_to_go, _) = times.select_nth_unstable(last);
        let newest_to_go = *newest_to_go;
        self.retain(|name, time| !is_own(name) || time > newest_to_go);
        self.count + wanted <= bound
    }

    fn retain(&mut self, keeps: impl Fn(u32, Timestamp) -> bool) {
        for of in self.places.values_mut() {
            of.retain(|_, of| {
                of.retain(|latest| keeps(latest.name, latest.time));
                !of.is_empty()
            });
        }
        let of = self.places.values().flat_map(BTreeMap::values);
        self.count = of.map(Vec::len).sum();
        if self.names.of_number.len() > 2 * self.count + NAMES_SPARE {
            self.renumber();
        }
    }

    /// Makes everything anew, without the names that nothing has any more.
    fn renumber(&mut self) {
        let all = self.all();
        *self = Self::default();
        for (key, time) in all {
            self.note(&key, time);
        }
    }
}

/// Whether a metric is one that this installation publishes: nobody else may put into these namespaces.
fn is_published((namespace, _): &(String, String)) -> bool {
    namespace.starts_with("AWS/") || namespace == "Enid"
}

/// So many names may be there that nothing has.
const NAMES_SPARE: usize = 1_000;

#[cfg(test)]
mod tests {
    use enid_model::key::{AccountId, RegionName};

    use super::*;

    fn scope() -> Scope {
        Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("eu-west-1"),
        }
    }

    fn metric(namespace: &str, name: &str, host: &str) -> Identity {
        let dimensions = vec![("Host".to_owned(), host.to_owned())];
        Identity::new(namespace, name, dimensions).unwrap()
    }

    fn note(known: &mut Known, metric: &Identity, time: i64) {
        known.note(&metric.key(&scope()), Timestamp(time));
    }

    #[test]
    fn what_was_noted_is_told_in_order() {
        let mut known = Known::default();
        let plain = Identity::new("N", "b", Vec::new()).unwrap();
        let metrics = [metric("N", "b", "x"), metric("N", "a", "y"), plain];
        for (time, metric) in metrics.iter().enumerate() {
            note(&mut known, metric, time.try_into().unwrap());
            note(&mut known, metric, 0);
        }
        assert_eq!(known.count, 3);
        let mut sorted = metrics.to_vec();
        sorted.sort();
        assert_eq!(known.since(&scope(), Timestamp(0)), sorted);
        assert_eq!(known.since(&scope(), Timestamp(2)), [metrics[2].clone()]);
        assert!(known.has(&scope(), &metrics[0]));
        assert!(!known.has(&scope(), &metric("N", "a", "x")));
        let elsewhere = Scope {
            region: RegionName::new("eu-west-2"),
            ..scope()
        };
        assert!(!known.has(&elsewhere, &metrics[0]));
        let mut again = Known::default();
        for (key, time) in known.all() {
            again.note(&key, time);
        }
        assert_eq!(again.since(&scope(), Timestamp(0)), sorted);
    }

    #[test]
    fn what_is_old_is_forgotten_with_its_name() {
        let mut known = Known::default();
        for number in 0..3_000 {
            note(&mut known, &metric("N", &format!("m{number}"), "x"), number);
        }
        known.forget(Timestamp(2_990));
        assert_eq!((known.count, known.names.of_number.len()), (10, 10));
        assert!(known.has(&scope(), &metric("N", "m2990", "x")));
        assert!(!known.has(&scope(), &metric("N", "m2989", "x")));
    }

    #[test]
    fn the_oldest_published_ones_make_room_and_no_others() {
        let mut known = Known::default();
        for number in 0..50 {
            note(
                &mut known,
                &metric("Enid", "m", &format!("{number}")),
                number,
            );
            note(&mut known, &metric("N", "m", &format!("{number}")), number);
        }
        assert!(known.make_room(20, 120));
        assert_eq!(known.count, 100);
        assert!(known.make_room(10, 100));
        assert_eq!(known.count, 90);
        assert!(!known.has(&scope(), &metric("Enid", "m", "9")));
        assert!(known.has(&scope(), &metric("Enid", "m", "10")));
        assert!(known.has(&scope(), &metric("N", "m", "0")));
        // All of what users put is kept, and then there is no room.
        assert!(!known.make_room(10, 20));
        assert_eq!(known.count, 50);
    }
}
