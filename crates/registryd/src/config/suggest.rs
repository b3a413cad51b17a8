//! "Did you mean …?"

use super::{
    keys::MISTAKEN,
    schema::{self, Key},
};

/// The dotted key that `name` below `parent` probably stands for.
pub(super) fn for_key(parent: &str, siblings: &'static [Key], name: &str) -> Option<String> {
    let written = schema::join(parent, name).to_ascii_lowercase();
    if let Some((_, meant)) = MISTAKEN.iter().find(|(mistaken, _)| *mistaken == written) {
        return Some((*meant).to_owned());
    }
    if let Some(sibling) = closest_key(siblings, name) {
        return Some(schema::join(parent, sibling.name));
    }
    // The right key in the wrong place, if only one place is right.
    let mut places = Vec::new();
    schema::visit(&mut |path, key| {
        if key.name.eq_ignore_ascii_case(name) {
            places.push(path.to_owned());
        }
    });
    match places.as_mut_slice() {
        [place] => Some(std::mem::take(place)),
        _ => None,
    }
}

/// The key whose name, or one of its other names, is closest to `name`.
pub(super) fn closest_key(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    let names = keys.iter().flat_map(|key| {
        let own = std::iter::once(key.name);
        own.chain(key.aliases.iter().copied())
            .map(move |name| (name, key))
    });
    closest(names, name)
}

/// The word closest to `written`.
pub(super) fn closest_word(words: &[&'static str], written: &str) -> Option<&'static str> {
    closest(words.iter().map(|word| (*word, *word)), written)
}

/// The candidate whose name is closest to `written`, if it is close enough to be meant: one
/// typing error in three letters, two in six, three in nine and more.
pub(super) fn closest<N: AsRef<str>, T>(
    candidates: impl Iterator<Item = (N, T)>,
    written: &str,
) -> Option<T> {
    // Longer than any key; comparing takes time in the square of the length.
    const LONGEST: usize = 128;
    if written.len() > LONGEST {
        return None;
    }
    let written = written.trim().to_ascii_lowercase();
    let near = |name: &str| strsim::osa_distance(&name.to_ascii_lowercase(), &written);
    candidates
        .map(|(name, candidate)| (near(name.as_ref()), candidate))
        .filter(|(distance, _)| *distance <= (written.chars().count() / 3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_key() {
        for (parent, written, meant) in [
            ("", "auht", Some("auth")),
            ("", "Storage", Some("storage")),
            ("", "htttp", Some("http")),
            ("", "port", Some("http.addr")),
            ("", "certificate", Some("http.tls.certificate")),
            ("", "tls", Some("http.tls")),
            ("", "htpasswd", Some("auth.htpasswd")),
            ("http", "tsl", Some("http.tls")),
            ("http.tls", "certficate", Some("http.tls.certificate")),
            ("http.tls", "certificates", Some("http.tls.certificate")),
            (
                "storage.filesystem",
                "rootDirectory",
                Some("storage.filesystem.rootdirectory"),
            ),
            (
                "storage.filesystem",
                "root",
                Some("storage.filesystem.rootdirectory"),
            ),
            // In several places: none of them.
            ("", "enabled", None),
            ("", "x", None),
            ("", "", None),
            ("", "completely-different", None),
        ] {
            let mut keys = schema::ROOT;
            for name in parent.split('.').filter(|name| !name.is_empty()) {
                keys = keys
                    .iter()
                    .find(|key| key.name == name)
                    .unwrap()
                    .kind
                    .keys();
            }
            assert_eq!(
                for_key(parent, keys, written).as_deref(),
                meant,
                "{parent}.{written}"
            );
        }
    }
}
