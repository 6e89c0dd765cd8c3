//! Path templates of `google.api.http`, as far as contracts of this project use them: literal segments, `{field}` for
//! one segment, `{field=**}` for all that follow, and a `:verb` at the end.

use percent_encoding::percent_decode_str;

/// A path with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    segments: Vec<Segment>,
    verb: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// One segment, which is not empty.
    One(String),
    /// All that follow, slashes included; not empty.
    Rest(String),
}

/// Why a text is no template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// It has to begin with a slash.
    #[error("{0:?} does not begin with a slash")]
    NotAbsolute(String),
    /// A segment is neither a literal nor a variable.
    #[error("{segment:?} in {template:?} is neither a literal, nor {{field}}, nor {{field=**}} at the end")]
    Segment {
        /// The segment.
        segment: String,
        /// All of the template.
        template: String,
    },
}

/// What a path says of the variables of a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    /// Another path.
    No,
    /// Field and value, decoded.
    Yes(Vec<(String, String)>),
    /// The path fits, but what it has for this field is no UTF-8 when it is decoded.
    NotText(String),
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let path = text.strip_prefix('/').ok_or_else(|| TemplateError::NotAbsolute(text.to_owned()))?;
        // A verb follows the last segment; colons elsewhere are not used.
        let (path, verb) = match path.rsplit_once(':') {
            Some((path, verb)) => (path, Some(verb.to_owned())),
            None => (path, None),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let segments: Result<Vec<_>, _> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| {
                let error =
                    || TemplateError::Segment { segment: (*part).to_owned(), template: text.to_owned() };
                segment(part, index + 1 == parts.len()).ok_or_else(error)
            })
            .collect();
        Ok(Self { segments: segments?, verb })
    }

    /// Fields that the path sets.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::One(field) | Segment::Rest(field) => Some(field.as_str()),
        })
    }

    /// Whether it ends in a verb, which makes it the more specific of two that match.
    pub(crate) fn has_verb(&self) -> bool {
        self.verb.is_some()
    }

    /// Holds a path, still encoded, against the template.
    pub(crate) fn matches(&self, path: &str) -> Matched {
        let path = match &self.verb {
            Some(verb) => path.strip_suffix(verb.as_str()).and_then(|path| path.strip_suffix(':')),
            None => Some(path),
        };
        let Some(mut rest) = path.and_then(|path| path.strip_prefix('/')).map(Some) else {
            return Matched::No;
        };
        let mut found = Vec::new();
        for segment in &self.segments {
            let Some(path) = rest else { return Matched::No };
            let (this, after) = match (segment, path.split_once('/')) {
                (Segment::Rest(_), _) | (_, None) => (path, None),
                (_, Some((this, after))) => (this, Some(after)),
            };
            rest = after;
            match segment {
                Segment::Literal(literal) if literal == this => {}
                Segment::Literal(_) => return Matched::No,
                Segment::One(_) | Segment::Rest(_) if this.is_empty() => return Matched::No,
                Segment::One(field) | Segment::Rest(field) => found.push((field, this)),
            }
        }
        if rest.is_some() {
            return Matched::No;
        }
        let mut decoded = Vec::with_capacity(found.len());
        for (field, raw) in found {
            match percent_decode_str(raw).decode_utf8() {
                Ok(value) => decoded.push((field.clone(), value.into_owned())),
                Err(_) => return Matched::NotText(field.clone()),
            }
        }
        Matched::Yes(decoded)
    }

    /// The path as OpenAPI writes it. Slashes in a variable are encoded by those who fill it in.
    pub(crate) fn openapi(&self) -> String {
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            match segment {
                Segment::Literal(literal) => path.push_str(literal),
                Segment::One(field) | Segment::Rest(field) => {
                    path.push('{');
                    path.push_str(field);
                    path.push('}');
                }
            }
        }
        if let Some(verb) = &self.verb {
            path.push(':');
            path.push_str(verb);
        }
        path
    }
}

fn segment(part: &str, last: bool) -> Option<Segment> {
    let field = |name: &str| {
        let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        fits.then(|| name.to_owned())
    };
    match part.strip_prefix('{') {
        Some(inner) => {
            let inner = inner.strip_suffix('}')?;
            match inner.strip_suffix("=**") {
                Some(name) if last => field(name).map(Segment::Rest),
                Some(_) => None,
                None => field(inner).map(Segment::One),
            }
        }
        None if part.is_empty() || part.contains(['{', '}', '*']) => None,
        None => Some(Segment::Literal(part.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn yes(pairs: &[(&str, &str)]) -> Matched {
        Matched::Yes(pairs.iter().map(|(field, value)| ((*field).into(), (*value).into())).collect())
    }

    #[test]
    fn paths_set_the_fields_that_the_template_names() {
        let rest = Template::parse("/v1/partitions/{partition=**}:explain").unwrap();
        let one = Template::parse("/v1/migrations/{id}").unwrap();
        let none = Template::parse("/v1/freeze:lift").unwrap();
        let cases = [
            (&rest, "/v1/partitions/sw/3:explain", yes(&[("partition", "sw/3")])),
            (&rest, "/v1/partitions/sw%2F3:explain", yes(&[("partition", "sw/3")])),
            (&rest, "/v1/partitions/v/slots:0-9:explain", yes(&[("partition", "v/slots:0-9")])),
            (&rest, "/v1/partitions/:explain", Matched::No),
            (&rest, "/v1/partitions/sw/3", Matched::No),
            (&rest, "/v1/partitions/%FF:explain", Matched::NotText("partition".into())),
            (&one, "/v1/migrations/a-b", yes(&[("id", "a-b")])),
            (&one, "/v1/migrations/a/b", Matched::No),
            (&one, "/v1/migrations/", Matched::No),
            (&one, "/v1/migrations", Matched::No),
            (&none, "/v1/freeze:lift", yes(&[])),
            (&none, "/v1/freeze", Matched::No),
            (&none, "v1/freeze:lift", Matched::No),
        ];
        for (template, path, expected) in cases {
            assert_eq!(template.matches(path), expected, "{path} against {template:?}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_segment() {
        let refused = ["/v1/{a=**}/b", "/v1//b", "/v1/{}", "/v1/{a", "/v1/{a=x/*}", "/v1/*"];
        for text in refused {
            assert!(matches!(Template::parse(text), Err(TemplateError::Segment { .. })), "{text}");
        }
        assert_eq!(Template::parse("v1"), Err(TemplateError::NotAbsolute("v1".into())));
    }

    #[test]
    fn openapi_leaves_out_how_much_a_variable_takes() {
        let template = Template::parse("/v1/nodes/{node=**}:down").unwrap();
        assert_eq!(template.openapi(), "/v1/nodes/{node}:down");
        assert_eq!(template.fields().collect::<Vec<_>>(), ["node"]);
    }

    proptest! {
        #[test]
        fn no_path_is_too_strange(path in ".{0,40}") {
            for text in ["/v1/partitions/{partition=**}:explain", "/v1/migrations/{id}", "/v1/{a}/{b}"] {
                let _ = Template::parse(text).unwrap().matches(&path);
            }
        }

        #[test]
        fn what_is_encoded_comes_out_again(name in "[^/]{1,20}") {
            let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
            let template = Template::parse("/v1/{name}:explain").unwrap();
            prop_assert_eq!(template.matches(&format!("/v1/{encoded}:explain")), yes(&[("name", &name)]));
        }
    }
}
