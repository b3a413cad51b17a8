//! Mixes of pulls and pushes, small and large.

use crate::content::Random;

/// What share of requests are pulls, and of what sizes, as zot's `zb` has them.
#[derive(Clone, Debug)]
pub struct Mix {
    random: Random,
    pulls_percent: u64,
    sizes: [(u64, u64); 3],
}

/// One request of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Pull the prepared blob with this index: small, medium, large.
    Pull(usize),
    /// Push a new blob of so many bytes.
    Push(u64),
}

impl Mix {
    /// 75 % pulls; 20 % small, 70 % medium and 10 % large blobs of these sizes. Each client takes
    /// another `seed`.
    pub fn new(sizes: [u64; 3], seed: u64) -> Self {
        let [small, medium, large] = sizes;
        Self {
            random: Random::new(seed),
            pulls_percent: 75,
            sizes: [(20, small), (70, medium), (10, large)],
        }
    }
}

impl Iterator for Mix {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        let pull = self.random.next_number() % 100 < self.pulls_percent;
        let mut drawn = self.random.next_number() % 100;
        for (index, (percent, size)) in self.sizes.iter().enumerate() {
            if drawn < *percent {
                return Some(if pull {
                    Operation::Pull(index)
                } else {
                    Operation::Push(*size)
                });
            }
            drawn -= percent;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_as_promised() {
        let drawn: Vec<_> = Mix::new([1, 2, 3], 7).take(10_000).collect();
        let count =
            |wanted: &dyn Fn(&Operation) -> bool| drawn.iter().filter(|o| wanted(o)).count();
        let pulls = count(&|operation| matches!(operation, Operation::Pull(_)));
        let large =
            count(&|operation| matches!(operation, Operation::Pull(2) | Operation::Push(3)));
        assert!((7_300..7_700).contains(&pulls), "{pulls}");
        assert!((850..1_150).contains(&large), "{large}");
    }
}
