//! `[[target.rule]]`: which files, ports and parts of devices are which partition.

use super::{ConfigError, Source};
use crate::rule::{DeviceRule, Rule, RuleError};
use bytesize::ByteSize;
use serde::Deserialize;
use std::path::Path;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    path: Option<Spanned<String>>,
    port: Option<Spanned<RawPorts>>,
    device: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    stripe: Option<Spanned<String>>,
    partition: Spanned<String>,
}

/// `6379` or `"7000-7010"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawPorts {
    One(u16),
    Range(String),
}

impl Source<'_> {
    /// The rules of a target.
    pub(super) fn rules(&self, key: &str, raw: Vec<Spanned<RawRule>>) -> Result<Vec<Rule>, ConfigError> {
        let mut rules: Vec<(usize, Rule)> = Vec::with_capacity(raw.len());
        for (index, raw) in raw.into_iter().enumerate() {
            let key = format!("{key}.rule[{index}]");
            let at = raw.span().start;
            let (field, field_at, rule) = self.rule(&key, at, raw.into_inner())?;
            if let Some((line, _)) = rules.iter().find(|(_, other)| other.claims_as(&rule)) {
                let what = format!("claims the same {field}s as the rule of line {line}");
                return Err(self.error(field_at, format!("{key}.{field}"), what));
            }
            rules.push((self.line(field_at), rule));
        }
        Ok(rules.into_iter().map(|(_, rule)| rule).collect())
    }

    /// A rule, with the name and place of the field that says what it claims.
    fn rule(&self, key: &str, at: usize, raw: RawRule) -> Result<(&'static str, usize, Rule), ConfigError> {
        let RawRule { path, port, device, from, to, stripe, partition } = raw;
        let (partition_at, partition) = (partition.span().start, partition.into_inner());
        let (field, field_at) = match (&path, &port, &device) {
            (Some(path), None, None) => ("path", path.span().start),
            (None, Some(port), None) => ("port", port.span().start),
            (None, None, Some(device)) => ("device", device.span().start),
            _ => return Err(self.error(at, key, "give one of path, port, device")),
        };
        let wrong = |error: RuleError| match error {
            RuleError::UnknownCapture { .. } | RuleError::Constant => {
                self.error(partition_at, format!("{key}.partition"), error)
            }
            RuleError::Path(_)
            | RuleError::Ports { .. }
            | RuleError::Alignment { .. }
            | RuleError::Stripe { .. }
            | RuleError::Empty { .. } => self.error(field_at, format!("{key}.{field}"), error),
        };
        if device.is_none()
            && let Some((name, part)) = [("from", &from), ("to", &to), ("stripe", &stripe)]
                .into_iter()
                .find_map(|(name, part)| part.as_ref().map(|part| (name, part.span().start)))
        {
            return Err(self.error(part, format!("{key}.{name}"), "is of a device only"));
        }
        if let Some(path) = path {
            return Ok((field, field_at, Rule::path(path.get_ref(), &partition).map_err(wrong)?));
        }
        if let Some(port) = port {
            let ports = match port.into_inner() {
                RawPorts::One(port) => port.to_string(),
                RawPorts::Range(range) => range,
            };
            return Ok((field, field_at, Rule::port(&ports, &partition).map_err(wrong)?));
        }
        let device = device.map(Spanned::into_inner).unwrap_or_default();
        if !Path::new(&device).is_absolute() {
            return Err(self.error(field_at, format!("{key}.device"), "give a path such as \"/dev/sdb\""));
        }
        let from = self.bytes(key, "from", from)?.unwrap_or(0);
        let (to, stripe) = (self.bytes(key, "to", to)?, self.bytes(key, "stripe", stripe)?);
        let rule = DeviceRule::new(Path::new(&device), from, to, stripe, &partition).map_err(wrong)?;
        Ok((field, field_at, Rule::Device(rule)))
    }

    fn bytes(
        &self,
        key: &str,
        field: &str,
        text: Option<Spanned<String>>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        let size = text.get_ref().parse::<ByteSize>().map_err(|_| {
            let what = format!("{:?} is no number of bytes such as \"64MiB\"", text.get_ref());
            self.error(text.span().start, format!("{key}.{field}"), what)
        })?;
        Ok(Some(size.as_u64()))
    }
}
