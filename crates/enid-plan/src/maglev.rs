//! Maglev tables: which slot goes to which target.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4:
//! each target has an order of preference of its own over all slots, and they take turns in taking the next
//! free one. So every target gets as many slots as any other, give or take one, and when a target goes, few
//! slots but its own change hands. A table depends on the set of targets alone.

use enid_pipeline::balancer::SLOTS;
use sha2::{Digest as _, Sha256};

/// The number of the target of each slot, by what tells the targets apart. None without targets, of which
/// there are at most [`TARGETS_MAX`].
#[must_use]
pub fn table(targets: &[&[u8]]) -> Vec<u16> {
    let mut preferences: Vec<Preference> = targets.iter().map(|it| Preference::of(it)).collect();
    let Ok(count) = u16::try_from(targets.len().min(TARGETS_MAX)) else {
        return Vec::new();
    };
    if count == 0 {
        return Vec::new();
    }
    let mut slots = vec![FREE; SLOTS as usize];
    let mut free = slots.len();
    loop {
        for (number, preference) in (0..count).zip(&mut preferences) {
            while let Some(slot) = slots.get_mut(preference.take()) {
                if *slot == FREE {
                    *slot = number;
                    break;
                }
            }
            free -= 1;
            if free == 0 {
                return slots;
            }
        }
    }
}

/// The most targets of one table: more than AWS's quota of a load balancer, and less than slots.
pub const TARGETS_MAX: usize = 4_096;

/// A slot that nobody has taken.
const FREE: u16 = u16::MAX;

/// A target's order of slots: from one on, in steps that reach all of them, as their number is prime.
struct Preference {
    next: u32,
    step: u32,
}

impl Preference {
    fn of(target: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::digest(target).into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        Self {
            next: u32::from_be_bytes([a, b, c, d]) % SLOTS,
            step: u32::from_be_bytes([e, f, g, h]) % (SLOTS - 1) + 1,
        }
    }

    /// The slot that comes next.
    fn take(&mut self) -> usize {
        let slot = self.next;
        self.next = (slot + self.step) % SLOTS;
        slot as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: u32) -> Vec<[u8; 4]> {
        (0..count).map(u32::to_be_bytes).collect()
    }

    fn table_of(names: &[[u8; 4]]) -> Vec<u16> {
        let targets: Vec<&[u8]> = names.iter().map(<[u8; 4]>::as_slice).collect();
        table(&targets)
    }

    #[test]
    fn every_target_gets_its_share_give_or_take_a_slot() {
        assert!(table(&[]).is_empty());
        for count in [1, 2, 3, 7, 100, 1000] {
            let slots = table_of(&names(count));
            let mut sums = vec![0_u32; count as usize];
            for slot in slots {
                sums[usize::from(slot)] += 1;
            }
            let (least, most) = (sums.iter().min(), sums.iter().max());
            let spread = most.zip(least).map(|(most, least)| most - least);
            assert!(spread <= Some(1), "{count}: {spread:?}");
        }
    }

    #[test]
    fn when_a_target_goes_few_slots_of_others_move() {
        let all = names(100);
        let before = table_of(&all);
        for gone in [0_u16, 17, 50, 99] {
            let mut rest = all.clone();
            let name = rest.remove(usize::from(gone));
            let after = table_of(&rest);
            let kept = before.iter().zip(&after).filter(|(old, _)| **old != gone);
            let (mut others, mut moved) = (0_u32, 0_u32);
            for (old, new) in kept {
                others += 1;
                moved += u32::from(all[usize::from(*old)] != rest[usize::from(*new)]);
            }
            assert_ne!(
                moved, 0,
                "{name:?}: a plain hash table would move all, a list none"
            );
            // At most 1.1 of 100.
            assert!(moved * 1000 <= others * 11, "{moved} of {others}");
        }
    }
}
