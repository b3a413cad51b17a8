//! What looks as if it were to protect the registry, and must not be lost without effect.

use super::{
    schema::{self, Kind},
    tree::{Node, Value},
};

/// Words for TLS and logins, in the file and in variables, whether they are keys or not.
const WORDS: &[&str] = &[
    "acme",
    "auth",
    "authentication",
    "cert",
    "certificate",
    "certificates",
    "clientauth",
    "clientcas",
    "htpasswd",
    "https",
    "letsencrypt",
    "ssl",
    "tls",
];

/// Settings of clients, and what links of Docker hand on: none of them is meant for a registry.
const CLIENTS: &[&str] = &["TLS_VERIFY", "SSL_VERIFY"];
const LINK: &str = "ENV_";

/// Whether the name is a word for TLS or a login, in any case.
pub(super) fn is_word(name: &str) -> bool {
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// Whether an unknown key with this value asks for TLS or a login, by its own name or by one below it.
/// Keys that begin with `x-` hold what others refer to.
pub(super) fn is_asked_for(name: &str, node: &Node) -> bool {
    !name.starts_with("x-") && !node.is_off() && (is_word(name) || has_below(node))
}

fn has_below(node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .any(|entry| is_asked_for(&entry.key, &entry.node)),
        Value::List(items) => items.iter().any(has_below),
        Value::Null | Value::Scalar(_) => false,
    }
}

/// Whether the name of an unknown variable, without `REGISTRY_`, asks for TLS or a login.
pub(super) fn is_named(rest: &str) -> bool {
    let rest = rest.trim().to_ascii_uppercase();
    if rest.starts_with(LINK) || CLIENTS.contains(&rest.as_str()) {
        return false;
    }
    let mut segments = rest.split('_');
    // A key of `http.tls` directly below `http`.
    let misplaced = |segment| tls().iter().any(|key| key.is_variable(segment));
    segments.clone().any(is_word) || (segments.next() == Some("HTTP") && segments.any(misplaced))
}

/// The keys of `http.tls`.
fn tls() -> &'static [schema::Key] {
    let below = |keys: &'static [schema::Key], name: &str| {
        let key = keys.iter().find(|key| key.name == name);
        key.map_or(&[][..], |key| key.kind.keys())
    };
    below(below(schema::ROOT, "http"), "tls")
}

/// The only guarded key that the end of an unknown variable's name leads to: `TLS_CERTIFICATE` to
/// `http.tls.certificate`.
pub(super) fn meant_by_end(rest: &str) -> Option<String> {
    let rest = rest.trim().to_ascii_lowercase();
    let segments: Vec<_> = rest.split('_').collect();
    (0..segments.len()).find_map(|from| {
        let end = segments.get(from..)?.join(".");
        let mut places = Vec::new();
        schema::visit(&mut |path, _| {
            let ends = path.strip_suffix(end.as_str());
            if ends.is_some_and(|before| before.is_empty() || before.ends_with('.')) {
                places.push(path.to_owned());
            }
        });
        match places.as_mut_slice() {
            [place] if schema::is_guarded(place) => Some(std::mem::take(place)),
            _ => None,
        }
    })
}

/// Whether a variable for `path` with nothing in it would take protection away that `old` asks for.
pub(super) fn is_removed(path: &str, kind: &Kind, old: &Node, new: &Node) -> bool {
    let empty = match &new.value {
        Value::Null => true,
        Value::Scalar(scalar) => scalar.text.trim().is_empty(),
        Value::List(_) | Value::Map(_) => false,
    };
    // Without these nothing is open that was not.
    let harmless = ["auth.htpasswd.realm", "http.tls.letsencrypt.email"];
    if !empty || old.is_off() || harmless.contains(&path) || matches!(kind, Kind::Opaque) {
        return false;
    }
    schema::is_guarded(path) || (path == "http" && has_below(old))
}
