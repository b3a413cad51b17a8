//! `REGISTRY_*` variables over the value tree.
//!
//! Distribution's algorithm: the part after `REGISTRY_` is split at every `_` and followed through
//! the structure; the value is a YAML document that replaces what is there; variables apply in the
//! order of their names, so that `REGISTRY_STORAGE` comes before `REGISTRY_STORAGE_FILESYSTEM_…`.
//! Where it fails its users, this one goes on: the names of the file work beside those of the Go
//! fields, every map and list can be reached (`maintenance` included), list indexes sort as
//! numbers, a header keeps one spelling, and a text that is no YAML is still a text.

use super::{
    diagnostic::{Diagnostic, Diagnostics, code},
    keys::MISTAKEN,
    links, protection,
    schema::{self, Key, Kind},
    source::Source,
    suggest,
    tree::{Entry, Node, Value},
    yaml,
};

pub(super) const PREFIX: &str = "REGISTRY_";
/// Names the configuration file; no setting of its own.
pub(super) const PATH: &str = "REGISTRY_CONFIGURATION_PATH";
/// podman, skopeo and buildah keep their credentials in the file it names.
const FOREIGN: &str = "REGISTRY_AUTH_FILE";
/// In the file it is checked; as a variable people use it for the tag of an image.
const VERSION: &str = "REGISTRY_VERSION";

/// Applies every `REGISTRY_*` variable to `root`.
pub(super) fn apply<'e>(
    root: &mut Node,
    variables: impl Iterator<Item = (&'e str, &'e str)>,
    strict: bool,
    diagnostics: &mut Diagnostics,
) {
    let mut variables: Vec<_> = variables
        .filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)))
        .filter(|(name, _, _)| *name != PATH)
        .collect();
    variables.sort_by_cached_key(|(_, rest, _)| rest.split('_').map(order).collect::<Vec<_>>());
    for (name, rest, value) in variables {
        let source = Source::variable(name);
        let segments: Vec<_> = rest.split('_').collect();
        match resolve(&segments) {
            // Below an unsupported key every name is possible, so a link may hide there.
            Ok(target) if !target.exact && links::is_service_link(name, value) => {}
            Ok(_) if name == VERSION => {
                if value.trim() != "0.1" {
                    diagnostics.push(
                        Diagnostic::note(format!("{} has no effect", code(name)), source)
                            .why("the version of the schema is that of the configuration file"),
                    );
                }
            }
            Ok(target) => {
                if let Err(diagnostic) = set(root, &target, value, &source) {
                    diagnostics.push(*diagnostic);
                }
            }
            Err(_) if links::is_service_link(name, value) => {}
            Err(_) if name == FOREIGN => diagnostics.push(
                Diagnostic::note(format!("{} has no effect", code(name)), source)
                    .why("it is a setting of podman, skopeo and buildah"),
            ),
            Err(unknown) => {
                diagnostics.push(report(&unknown, rest, &segments, value, source, strict));
            }
        }
    }
}

/// Numbers sort as numbers and before words.
fn order(segment: &str) -> (u64, &str) {
    match segment.parse::<u64>() {
        Ok(number) => (number, ""),
        Err(_) => (u64::MAX, segment),
    }
}

/// The place in the tree that a variable names.
struct Target {
    steps: Vec<Step>,
    kind: &'static Kind,
    path: String,
    /// Every segment was a known key.
    exact: bool,
}

enum Step {
    Key(&'static Key),
    Name(String),
    Index(usize),
}

/// Where following a variable's segments ended.
struct Unknown {
    /// The dotted key up to there.
    parent: String,
    keys: &'static [Key],
    /// The number of the first segment that leads nowhere.
    at: usize,
}

fn resolve(segments: &[&str]) -> Result<Target, Unknown> {
    static TOP: Kind = Kind::Section(schema::ROOT);
    let mut target = Target {
        steps: Vec::new(),
        kind: &TOP,
        path: String::new(),
        exact: true,
    };
    let mut at = 0;
    while let Some(rest @ [segment, ..]) = segments.get(at..) {
        let nowhere = || Unknown {
            parent: target.path.clone(),
            keys: target.kind.keys(),
            at,
        };
        let (step, name, kind, taken) = match target.kind {
            Kind::Section(keys) | Kind::Selector(keys) => {
                let (key, taken) = schema::named(keys, rest).ok_or_else(nowhere)?;
                (Step::Key(key), key.name.to_owned(), &key.kind, taken)
            }
            // Names of headers and fields may contain `_` themselves.
            Kind::Map(kind) => {
                let name = rest.join("_").to_lowercase();
                if name.is_empty() {
                    return Err(nowhere());
                }
                (Step::Name(name.clone()), name, *kind, rest.len())
            }
            Kind::Opaque => {
                target.exact = false;
                let name = rest.join("_").to_lowercase();
                (Step::Name(name.clone()), name, &Kind::Opaque, rest.len())
            }
            Kind::List(kind) => {
                let digits = segment.bytes().all(|b| b.is_ascii_digit());
                let index = segment.parse().ok().filter(|_| digits);
                let index: usize = index.ok_or_else(nowhere)?;
                (Step::Index(index), index.to_string(), *kind, 1)
            }
            _ => return Err(nowhere()),
        };
        target.steps.push(step);
        target.path = schema::join(&target.path, &name);
        target.kind = kind;
        at += taken;
    }
    Ok(target)
}

type Outcome = Result<(), Box<Diagnostic>>;

fn set(root: &mut Node, target: &Target, value: &str, source: &Source) -> Outcome {
    let new = parse(target, value, source)?;
    if let Some((old, place)) = written(root, &target.steps)
        && protection::is_removed(&target.path, target.kind, old, &new)
    {
        return Err(Box::new(removed(&target.path, place, source)));
    }
    place(root, &target.steps, new, "", source)
}

/// What is written where `steps` lead, and where its key stands.
fn written<'n>(root: &'n Node, steps: &[Step]) -> Option<(&'n Node, &'n Source)> {
    let mut found = (root, &root.source);
    for step in steps {
        let known = |written: &str| match step {
            Step::Key(key) => written == key.name || key.aliases.contains(&written),
            Step::Name(name) => written.to_lowercase() == *name,
            Step::Index(_) => false,
        };
        found = match (&found.0.value, step) {
            (Value::List(items), Step::Index(index)) => {
                let item = items.get(*index)?;
                (item, &item.source)
            }
            (Value::Map(entries), _) => {
                let entry = entries.iter().find(|entry| known(&entry.key))?;
                (&entry.node, &entry.key_source)
            }
            // `auth: htpasswd`
            _ => return None,
        };
    }
    Some(found)
}

/// An empty variable, as compose makes of one that is not set, over what protects the registry.
fn removed(path: &str, place: &Source, source: &Source) -> Diagnostic {
    let (what, why, fix) = if path == "auth" {
        (
            "an empty variable would remove authentication".to_owned(),
            "everybody could push and pull",
            "unset the variable; or, if that is meant, set it to `none`".to_owned(),
        )
    } else {
        let fix = match path {
            "http" => "unset the variable".to_owned(),
            _ if path.starts_with("auth.") => {
                "unset the variable; or, if that is meant, set `REGISTRY_AUTH=none`".to_owned()
            }
            _ => "unset the variable; or, if plain HTTP is meant, set `REGISTRY_HTTP_TLS={}`"
                .to_owned(),
        };
        (
            format!("an empty variable would remove `{path}`"),
            "the registry would be less protected than the file says",
            fix,
        )
    };
    Diagnostic::error(what, source.clone())
        .also_at(place.clone())
        .why(why)
        .fix(fix)
}

fn parse(target: &Target, value: &str, source: &Source) -> Result<Node, Box<Diagnostic>> {
    let flat = target.kind.is_scalar();
    // `*` or `a: b` for a header or an unsupported key.
    let lenient = match target.kind {
        Kind::List(item) => item.is_scalar() && !value.trim_start().starts_with(['[', '-']),
        Kind::Opaque => true,
        _ => flat,
    };
    if lenient && !matches!(target.kind, Kind::Opaque) && is_text(value) {
        return Ok(Node::text(value, source.clone()));
    }
    match yaml::parse(value, source) {
        // A text that YAML makes nothing of, such as `...`.
        Ok(node) if flat && is_empty(&node) && !is_null(value) => {
            Ok(Node::text(value, source.clone()))
        }
        Ok(node) if flat && matches!(node.value, Value::List(_) | Value::Map(_)) => {
            Ok(Node::text(value, source.clone()))
        }
        Err(_) if lenient => Ok(Node::text(value, source.clone())),
        Err(mut diagnostic) => {
            diagnostic.what = format!("the value of `{}` is {}", target.path, diagnostic.what);
            diagnostic.fix = Some(format!("write {} in YAML", target.kind.expected()));
            Err(diagnostic)
        }
        node => node,
    }
}

/// Whether a scalar begins with what YAML would take for a comment, an anchor, a tag or the head of a
/// block that does not follow: nobody writes these for one value, and secrets do begin with them.
fn is_text(value: &str) -> bool {
    let value = value.trim_start();
    match value.as_bytes().first() {
        Some(b'#' | b'&') => true,
        Some(b'!') => !value.starts_with("!!str "),
        Some(b'|' | b'>') => !value.contains('\n'),
        _ => false,
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Scalar(scalar) => scalar.text.is_empty(),
        Value::List(_) | Value::Map(_) => false,
    }
}

/// Whether a value says that there is none.
fn is_null(value: &str) -> bool {
    matches!(
        value.trim(),
        "" | "~" | "null" | "Null" | "NULL" | "\"\"" | "''"
    )
}

/// Puts `new` where `steps` lead, making what is missing on the way.
fn place(node: &mut Node, steps: &[Step], new: Node, path: &str, source: &Source) -> Outcome {
    let Some((step, rest)) = steps.split_first() else {
        *node = new;
        return Ok(());
    };
    match step {
        Step::Key(key) => {
            let known = |name: &str| name == key.name || key.aliases.contains(&name);
            let Some(entry) = entry(entries(node, path, source)?, known, key.name, source) else {
                return Ok(());
            };
            if rest.is_empty() {
                key.name.clone_into(&mut entry.key);
                entry.key_source = source.clone();
            } else if matches!(key.kind, Kind::Selector(_)) {
                expand(&mut entry.node);
            }
            let path = schema::join(path, key.name);
            place(&mut entry.node, rest, new, &path, source)
        }
        Step::Name(name) => {
            let known = |written: &str| written.to_lowercase() == *name;
            let Some(entry) = entry(entries(node, path, source)?, known, name, source) else {
                return Ok(());
            };
            entry.key_source = source.clone();
            entry.node = new;
            Ok(())
        }
        Step::Index(index) => {
            let items = items(node, path, source)?;
            if *index == items.len() {
                items.push(Node::null(source.clone()));
            }
            let len = items.len();
            let Some(item) = items.get_mut(*index) else {
                return Err(Box::new(
                    Diagnostic::error(
                        format!("`{path}` has {len} items, so there is no item {index}"),
                        source.clone(),
                    )
                    .fix(format!(
                        "items count from 0: the next one is {len}; or give the whole list as YAML"
                    )),
                ));
            };
            let path = schema::join(path, &index.to_string());
            place(item, rest, new, &path, source)
        }
    }
}

/// The entry whose key is `known`; a new one called `name`, which is known too, if there is none.
fn entry<'n>(
    entries: &'n mut Vec<Entry>,
    known: impl Fn(&str) -> bool,
    name: &str,
    source: &Source,
) -> Option<&'n mut Entry> {
    if !entries.iter().any(|entry| known(&entry.key)) {
        entries.push(Entry {
            key: name.to_owned(),
            key_source: source.clone(),
            node: Node::null(source.clone()),
        });
    }
    entries.iter_mut().find(|entry| known(&entry.key))
}

/// The entries of a mapping, which `node` becomes if it is empty.
fn entries<'n>(
    node: &'n mut Node,
    path: &str,
    source: &Source,
) -> Result<&'n mut Vec<Entry>, Box<Diagnostic>> {
    if matches!(node.value, Value::Null) {
        node.value = Value::Map(Vec::new());
    }
    let (found, place) = (node.describe(), node.source.clone());
    match &mut node.value {
        Value::Map(entries) => Ok(entries),
        _ => Err(Box::new(conflict(path, "a mapping", &found, place, source))),
    }
}

/// The items of a list, which `node` becomes if it is empty.
fn items<'n>(
    node: &'n mut Node,
    path: &str,
    source: &Source,
) -> Result<&'n mut Vec<Node>, Box<Diagnostic>> {
    if matches!(node.value, Value::Null) {
        node.value = Value::List(Vec::new());
    }
    let (found, place) = (node.describe(), node.source.clone());
    match &mut node.value {
        Value::List(items) => Ok(items),
        _ => Err(Box::new(conflict(path, "a list", &found, place, source))),
    }
}

fn conflict(path: &str, want: &str, found: &str, place: Source, source: &Source) -> Diagnostic {
    Diagnostic::error(
        format!("`{path}` must be {want} for this variable to apply, not {found}"),
        source.clone(),
    )
    .also_at(place)
    .fix(format!("write `{path}` as {want}, or unset the variable"))
}

/// `storage: inmemory` is short for `storage: {inmemory: }`.
pub(super) fn expand(node: &mut Node) {
    let Value::Scalar(scalar) = &node.value else {
        return;
    };
    node.value = match scalar.text.trim() {
        "" => Value::Null,
        name => Value::Map(vec![Entry {
            key: name.to_owned(),
            key_source: node.source.clone(),
            node: Node::null(node.source.clone()),
        }]),
    };
}

/// A variable that names nothing.
fn report(
    unknown: &Unknown,
    rest: &str,
    segments: &[&str],
    value: &str,
    source: Source,
    strict: bool,
) -> Diagnostic {
    let name = format!("{PREFIX}{rest}");
    let meant = meant(unknown, rest, segments);
    // A typing error must not open the registry, nor move its content.
    let guarded = schema::is_guarded(&unknown.parent)
        || unknown.parent == "storage"
        || meant
            .as_ref()
            .is_some_and(|(_, path)| schema::is_guarded(path))
        || (protection::is_named(rest) && !value.trim().is_empty());
    let mut diagnostic = if guarded || strict {
        Diagnostic::error(
            format!("unknown environment variable {}", code(&name)),
            source,
        )
    } else {
        let what = format!("unknown environment variable {} is ignored", code(&name));
        Diagnostic::warning(what, source)
    };
    if guarded {
        diagnostic = diagnostic.why(
            "ignored, it could leave the registry unprotected or its content in another place",
        );
    }
    match meant {
        Some((variable, _)) if rest.ends_with(char::is_whitespace) => diagnostic.fix(format!(
            "its name ends with a space; did you mean `{variable}`?"
        )),
        Some((variable, _)) => diagnostic.fix(format!("did you mean `{variable}`?")),
        None => diagnostic.fix("unset it, or rename it if it is not meant for the registry"),
    }
}

/// The variable that was probably meant, and the dotted key it sets.
fn meant(unknown: &Unknown, rest: &str, segments: &[&str]) -> Option<(String, String)> {
    let dotted = rest.trim().to_lowercase().replace('_', ".");
    if let Some((_, path)) = MISTAKEN.iter().find(|(mistaken, _)| *mistaken == dotted) {
        let name = path.to_uppercase().replace('.', "_");
        return Some((format!("{PREFIX}{name}"), (*path).to_owned()));
    }
    // Only spaces around it, or lower case.
    let upper = rest.trim().to_uppercase();
    if let Ok(target) = resolve(&upper.split('_').collect::<Vec<_>>()) {
        return Some((format!("{PREFIX}{upper}"), target.path));
    }
    // One segment is misspelt and the rest leads on from the right one.
    let segment = segments.get(unknown.at).copied().unwrap_or_default();
    if let Some(key) = suggest::closest_key(unknown.keys, segment) {
        let right = key.segment();
        let mut corrected = segments.to_vec();
        if let Some(slot) = corrected.get_mut(unknown.at) {
            *slot = &right;
        }
        if let Ok(target) = resolve(&corrected) {
            return Some((format!("{PREFIX}{}", corrected.join("_")), target.path));
        }
    }
    if protection::is_named(rest)
        && let Some(path) = protection::meant_by_end(rest)
    {
        let name = path.to_uppercase().replace('.', "_");
        return Some((format!("{PREFIX}{name}"), path));
    }
    // A `_` too many or too few.
    let mut names = Vec::new();
    schema::visit(&mut |path, _| {
        names.push((path.to_uppercase().replace('.', "_"), path.to_owned()));
    });
    let names = names
        .into_iter()
        .map(|(name, path)| (name.clone(), (name, path)));
    suggest::closest(names, rest).map(|(name, path)| (format!("{PREFIX}{name}"), path))
}
