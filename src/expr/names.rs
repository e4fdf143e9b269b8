//! Names that were probably meant.

use super::compile::Scope;

/// The candidate that is nearest to a name, when it is near enough to be meant: at most a third
/// of the name's characters differ, at least one may. The first of several equally near ones.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.to_lowercase().chars().take(64).collect();
    let allowed = (name.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = distance(&name, candidate);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// What to say about a metric that is not there, in an expression that quotes names with `quote`.
pub(super) fn hint(name: &str, text: &str, scope: &Scope, quote: char) -> Option<String> {
    let odd = |field: &str| !field.chars().all(|c| c.is_alphanumeric() || c == '_');
    let begins = |field: &str| {
        field
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(|c: char| !c.is_alphanumeric()))
    };
    for (field, _) in &scope.fields {
        if odd(field) && text.contains(field.as_str()) && (begins(field) || field.contains(name)) {
            return Some(format!("quote the name: {quote}{field}{quote}"));
        }
    }
    let known = scope.fields.iter().map(|(field, _)| field.as_str());
    if let Some(field) = nearest(name, known) {
        return Some(match odd(field) {
            true => format!("did you mean {quote}{field}{quote}?"),
            false => format!("did you mean '{field}'?"),
        });
    }
    let some: Vec<&str> = scope.fields.iter().map(|(field, _)| field.as_str()).take(8).collect();
    match some.len() {
        0 => Some("there is no metric here".into()),
        shown if shown < scope.fields.len() => Some(format!("known: {}, ...", some.join(", "))),
        _ => Some(format!("known: {}", some.join(", "))),
    }
}

/// The number of insertions, deletions and replacements between two names, ignoring case.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, right) in b.to_lowercase().chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, left) in a.iter().enumerate() {
            let replaced = diagonal + usize::from(*left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, candidates: &[&str], expected: Option<&str>) {
        assert_eq!(nearest(name, candidates.iter().copied()), expected, "{name}");
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        check("presure", &["flow", "pressure"], Some("pressure"));
        check("Flow", &["flow", "pressure"], Some("flow"));
        check("dq", &["dp", "flow"], Some("dp"));
        check("voltage", &["flow", "pressure"], None);
        check("x", &[], None);
    }
}
