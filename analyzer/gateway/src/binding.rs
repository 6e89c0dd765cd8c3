//! Which HTTP requests are which calls: the rules that the contracts carry, read and checked once.

use crate::template::{Template, TemplateError};
use axum::http::Method;
use axum::http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, Value};

/// The option of a method that has its rule.
const RULE: &str = "google.api.http";

/// One way to call a method.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) verb: Method,
    pub(crate) template: Template,
    /// The body is the whole message; otherwise there is none, and the query has the fields.
    pub(crate) has_body: bool,
    /// The field of the answer that is sent as it is, in the place of JSON.
    pub(crate) raw: Option<FieldDescriptor>,
    pub(crate) method: MethodDescriptor,
    /// Where gRPC has the method.
    pub(crate) path: PathAndQuery,
}

/// Why contracts cannot be served as REST.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// They are no contracts.
    #[error("the contracts cannot be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// They say nothing of HTTP.
    #[error("the contracts do not define the option {RULE}")]
    NoRules,
    /// A rule's path is none.
    #[error("{method}: {source}")]
    Template {
        /// The method's name.
        method: String,
        /// What is wrong.
        #[source]
        source: TemplateError,
    },
    /// A rule says something that is not served here.
    #[error("{method}: {what}")]
    Rule {
        /// The method's name.
        method: String,
        /// What is wrong.
        what: String,
    },
}

/// All bindings of all services, those that end in a verb first, as they are the more specific.
pub(crate) fn bindings(pool: &DescriptorPool) -> Result<Vec<Binding>, BindingError> {
    let option = pool.get_extension_by_name(RULE).ok_or(BindingError::NoRules)?;
    let mut found = Vec::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let options = method.options();
        if !options.has_extension(&option) {
            continue;
        }
        if let Value::Message(rule) = options.get_extension(&option).as_ref() {
            found.push(binding(&method, rule)?);
            for more in list(rule, "additional_bindings") {
                found.push(binding(&method, &more)?);
            }
        }
    }
    found.sort_by_key(|binding| !binding.template.has_verb());
    Ok(found)
}

fn binding(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<Binding, BindingError> {
    let wrong = |what: String| BindingError::Rule { method: method.full_name().to_owned(), what };
    if method.is_client_streaming() {
        return Err(wrong("a stream of requests cannot be one HTTP request".to_owned()));
    }
    let (verb, path) = [("get", Method::GET), ("post", Method::POST)]
        .into_iter()
        .find_map(|(field, verb)| Some((verb, text(rule, field)?)))
        .ok_or_else(|| wrong("its rule has neither get nor post".to_owned()))?;
    let template = Template::parse(&path)
        .map_err(|source| BindingError::Template { method: method.full_name().to_owned(), source })?;
    for field in template.fields() {
        match method.input().get_field_by_name(field) {
            Some(field)
                if !field.is_list() && !field.is_map() && !matches!(field.kind(), Kind::Message(_)) => {}
            Some(_) => return Err(wrong(format!("{field} is no single value, so no path can set it"))),
            None => return Err(wrong(format!("{} has no field {field}", method.input().full_name()))),
        }
    }
    let has_body = match text(rule, "body").as_deref() {
        None => false,
        Some("*") => true,
        Some(field) => return Err(wrong(format!("body: \"{field}\" is not served, only \"*\""))),
    };
    if has_body != (verb == Method::POST) {
        return Err(wrong("a body goes with post, and with nothing else".to_owned()));
    }
    let raw = text(rule, "response_body").map(|field| match method.output().get_field_by_name(&field) {
        Some(field) if field.kind() == Kind::Bytes && !field.is_list() => Ok(field),
        Some(_) | None => Err(wrong(format!("response_body: {field} is no bytes of the answer"))),
    });
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = path.parse().map_err(|error| wrong(format!("{path} is no path: {error}")))?;
    Ok(Binding { verb, template, has_body, raw: raw.transpose()?, method: method.clone(), path })
}

/// A field of a rule, unless it is empty.
fn text(rule: &DynamicMessage, field: &str) -> Option<String> {
    let value = rule.get_field_by_name(field)?;
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn list(rule: &DynamicMessage, field: &str) -> Vec<DynamicMessage> {
    let value = rule.get_field_by_name(field);
    let items = value.as_deref().and_then(Value::as_list).unwrap_or_default();
    items.iter().filter_map(Value::as_message).cloned().collect()
}
