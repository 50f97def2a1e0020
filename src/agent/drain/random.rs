//! Jitter's randomness: small, fast, seeded. Nothing that must be unguessable comes from here.

/// A splitmix64 generator.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[cfg(test)]
    pub(super) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Another seed in every process, so that agents that start together do not act together.
    pub(super) fn from_entropy() -> Self {
        Self(uuid::Uuid::new_v4().as_u64_pair().1)
    }

    /// Another generator, seeded by this one.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.unit().to_bits())
    }

    /// A number in `0.0..1.0`.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 53 bits are what an f64 can hold.
        (z >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `from..to`.
    pub(super) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }
}
