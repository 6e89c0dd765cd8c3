//! What is asked for by name: `name`, or `system/name` where several systems have one.

use tonic::Status;

/// Whether something of a system is called so.
pub(super) fn is_called(said: &str, system: &str, name: &str) -> bool {
    name == said || said.strip_prefix(system).and_then(|rest| rest.strip_prefix('/')) == Some(name)
}

/// The one of those that are called so, with their systems; `None` if there is none. `kind` is what they are, such as
/// `node`.
pub(super) fn only<'a, T>(
    kind: &str,
    said: &str,
    found: impl IntoIterator<Item = (&'a str, T)>,
) -> Result<Option<T>, Status> {
    let mut found = found.into_iter();
    let Some((first, only)) = found.next() else { return Ok(None) };
    let others: Vec<&str> = found.map(|(system, _)| system).collect();
    if others.is_empty() {
        return Ok(Some(only));
    }
    let systems = [&[first], others.as_slice()].concat().join(" and of ");
    Err(Status::invalid_argument(format!("{said} is a {kind} of {systems}; say which, as system/name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough_until_two_systems_have_it() {
        let all = [("pg", "a"), ("weed", "a"), ("weed", "b/c")];
        let find = |said: &str| {
            let found = all.iter().filter(|(system, name)| is_called(said, system, name));
            only("node", said, found.map(|(system, name)| (*system, (*system, *name))))
        };
        assert_eq!(find("weed/a").unwrap(), Some(("weed", "a")));
        assert_eq!(find("b/c").unwrap(), Some(("weed", "b/c")));
        assert_eq!(find("weed/b/c").unwrap(), Some(("weed", "b/c")));
        assert_eq!(find("pg/b/c").unwrap(), None);
        assert_eq!(find("d").unwrap(), None);
        let said = find("a").unwrap_err().message().to_owned();
        assert_eq!(said, "a is a node of pg and of weed; say which, as system/name");
    }
}
