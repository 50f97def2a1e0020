//! Versions, and which of two is the older one.

/// A release: three numbers. What is not one compares with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u64; 3]);

impl Version {
    /// Reads `1.2.3`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Self(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        let version = |text| Version::parse(text);
        assert!(version("0.9.9") < version("0.10.0") && version("1.0.0") > version("0.99.99"));
        for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.3-rc1"] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
