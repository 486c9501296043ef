//! Mutations from a seed: a little of what libFuzzer does, for a test that is over in seconds.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Longer inputs are cut: they cost time and show nothing new.
const LENGTH_MAX: usize = 4096;
/// Bytes that mean something to one parser or another.
const TELLING: &[u8] = b"\0\x01\x06\x11\x2c\x3a\x45\x7f\x80\xff&=%+.,/:;-$*?\\\"{}[] \n19aAzZ";

/// A source of mutated inputs.
#[derive(Debug)]
pub struct Mutator {
    rng: StdRng,
}

impl Mutator {
    /// Equal seeds give equal inputs.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng }
    }

    /// One of the inputs, changed in one to eight places.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut data = self.one(corpus).to_vec();
        for _ in 0..self.rng.random_range(1..=8) {
            self.change(&mut data, corpus);
        }
        data.truncate(LENGTH_MAX);
        data
    }

    fn one<'a>(&mut self, corpus: &'a [Vec<u8>]) -> &'a [u8] {
        match corpus.len() {
            0 => &[],
            count => &corpus[self.rng.random_range(0..count)],
        }
    }

    /// A position, the end among them.
    fn place(&mut self, data: &[u8]) -> usize {
        self.rng.random_range(0..=data.len())
    }

    /// A piece, short ones more often.
    fn piece(&mut self, data: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(data);
        let most = match self.rng.random_range(0..4) {
            0 => data.len(),
            _ => 16,
        };
        let length = self.rng.random_range(0..=most.min(data.len() - start));
        start..start + length
    }

    fn telling(&mut self) -> u8 {
        TELLING[self.rng.random_range(0..TELLING.len())]
    }

    fn change(&mut self, data: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.place(data);
        match self.rng.random_range(0..9) {
            0 => {
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << self.rng.random_range(0..8);
                }
            }
            1 => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = self.telling();
                }
            }
            2 => {
                // Counts and lengths a little off.
                if let Some(byte) = data.get_mut(at) {
                    *byte = byte.wrapping_add_signed(self.rng.random_range(-4..=4));
                }
            }
            3 => {
                let byte = self.telling();
                data.insert(at, byte);
            }
            4 => drop(data.drain(self.piece(data))),
            5 => data.truncate(at),
            6 => {
                let piece = data[self.piece(data)].to_vec();
                data.splice(at..at, piece);
            }
            _ => {
                // A piece of another input, in place of one of this or beside it.
                let other = self.one(corpus);
                let from = self.piece(other);
                let to = match self.rng.random() {
                    true => self.piece(data),
                    false => at..at,
                };
                data.splice(to, other[from].iter().copied());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_whole_of_a_run() {
        let corpus = [b"Action=DescribeVpcs".to_vec(), Vec::new()];
        let run = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..100).map(|_| mutator.next(&corpus)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).iter().any(|data| *data != corpus[0]));
        assert!(Mutator::new(1).next(&[]).len() < 64);
    }
}
