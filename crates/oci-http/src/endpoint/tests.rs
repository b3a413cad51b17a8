use proptest::prelude::*;

use super::*;

fn parse(target: &str) -> Result<Endpoint, EndpointError> {
    match target.split_once('?') {
        Some((path, query)) => Endpoint::parse(path, Some(query)),
        None => Endpoint::parse(target, None),
    }
}

fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"content")
}

fn blob(name: &str) -> Endpoint {
    Endpoint::Blob {
        repository: repository(name),
        digest: digest(),
    }
}

/// A user interface takes the name of the next page's first repository from between `last=` and `%2F`.
#[test]
fn a_link_to_more_repositories_has_no_slash_in_its_query() {
    let page = PageQuery {
        n: Some(1),
        last: Some("team/app".to_owned()),
    };
    let link = Endpoint::Catalog { page }.to_string();
    assert_eq!(link, "/v2/_catalog?n=1&last=team%2Fapp");
}

#[test]
fn words_of_endpoints_may_be_names() {
    for name in [
        "blobs",
        "a/blobs/uploads",
        "manifests/tags/list",
        "v2",
        "uploads",
        "referrers/x",
    ] {
        let d = digest();
        assert_eq!(parse(&format!("/v2/{name}/blobs/{d}")), Ok(blob(name)));
        for path in [
            format!("/v2/{name}/manifests/latest"),
            format!("/v2/{name}/tags/list"),
            format!("/v2/{name}/referrers/{d}"),
            format!("/v2/{name}/blobs/uploads"),
            format!("/v2/{name}/blobs/uploads/"),
            format!("/v2/{name}/blobs/uploads/0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11"),
            format!("/v2/{name}/_oci/ext/discover"),
        ] {
            let endpoint = parse(&path).unwrap();
            assert_eq!(endpoint.repository(), Some(&repository(name)), "{path}");
        }
    }
}

#[test]
fn percent_encoding_is_decoded_once() {
    let d = digest();
    let encoded = d.to_string().replace(':', "%3A");
    assert_eq!(
        parse(&format!("/v2/%61bc/blobs/{encoded}")),
        Ok(blob("abc"))
    );
    for bad in [
        "%2561bc",
        "a%2Fb",
        "%zz",
        "%",
        "a%00",
        "%c0%ae%c0%ae",
        "%ff",
        "..",
        "%2e%2e",
    ] {
        let parsed = parse(&format!("/v2/{bad}/blobs/{d}"));
        assert!(
            matches!(parsed, Err(EndpointError::Name(_))),
            "{bad}: {parsed:?}"
        );
    }
}

#[test]
fn what_is_no_endpoint() {
    for path in [
        "",
        "/",
        "/v1/",
        "/v2x",
        "//v2/",
        "*",
        "/v2/x",
        "/v2/x/y",
        "/v2/a/tags/list/",
        "/v2/_catalog/",
        "/v2/a/tags",
        "/v2/_x/y/z",
    ] {
        assert_eq!(parse(path), Err(EndpointError::NotFound), "{path}");
    }
    for path in [
        "/v2/tags/list",
        "/v2//tags/list",
        "/v2/blobs/uploads/",
        "/v2/a//tags/list",
    ] {
        assert!(matches!(parse(path), Err(EndpointError::Name(_))), "{path}");
    }
}

#[test]
fn components_by_their_grammar() {
    assert!(matches!(
        parse("/v2/a/manifests/"),
        Err(EndpointError::Tag(_))
    ));
    assert!(matches!(
        parse("/v2/a/manifests/sha256:x"),
        Err(EndpointError::Digest(_))
    ));
    assert!(matches!(
        parse("/v2/a/blobs/latest"),
        Err(EndpointError::Digest(_))
    ));
    assert!(matches!(
        parse("/v2/a/referrers/latest"),
        Err(EndpointError::Digest(_))
    ));
    assert!(matches!(
        parse("/v2/a/blobs/uploads/x"),
        Err(EndpointError::UploadId(_))
    ));
}

#[test]
fn page_sizes() {
    for bad in ["-1", "", "1.5", "+", "0x1", "%20", "%ff"] {
        assert_eq!(
            parse(&format!("/v2/a/tags/list?n={bad}")),
            Err(EndpointError::PageSize),
            "{bad}"
        );
    }
    let Ok(Endpoint::Catalog { page }) = parse("/v2/_catalog?n=99999999999999999999999&last=")
    else {
        panic!()
    };
    assert_eq!((page.n, page.last), (Some(usize::MAX), None));
}

#[test]
fn upload_parameters() {
    let d = digest();
    let id = "0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11";
    let upload = |query: &str| parse(&format!("/v2/a/blobs/uploads/{id}?{query}"));
    for query in [
        format!("_state=7&digest={d}"),
        format!("digest={}&x=y&_state=7&", d.to_string().replace(':', "%3a")),
        format!("digest={d}&_state=7&digest={d}"),
    ] {
        let Ok(Endpoint::Upload { state, digest, .. }) = upload(&query) else {
            panic!("{query}")
        };
        assert_eq!((state, digest), (Some(7), Some(d)));
    }
    // What another registry put there says nothing.
    let Ok(Endpoint::Upload { state, .. }) = upload("_state=eyJOYW1lIjoiYSJ9") else {
        panic!()
    };
    assert_eq!(state, None);
    let other = Digest::of(Algorithm::Sha256, b"");
    assert_eq!(
        upload(&format!("digest={d}&digest={other}")),
        Err(EndpointError::DigestConflict)
    );
    assert!(matches!(upload("digest="), Err(EndpointError::Digest(_))));
}

#[test]
fn mount_parameters() {
    let d = digest();
    let mount = |query: &str| match parse(&format!("/v2/a/blobs/uploads/?{query}")) {
        Ok(Endpoint::Uploads { start, .. }) => start.mount.map(|mount| mount.from),
        other => panic!("{other:?}"),
    };
    assert_eq!(mount(&format!("mount={d}")), Some(MountFrom::Anywhere));
    assert_eq!(
        mount(&format!("mount={d}&from=x%2Fy&from=z")),
        Some(MountFrom::Repository(repository("x/y")))
    );
    assert_eq!(
        mount(&format!("mount={d}&from=UPPER")),
        Some(MountFrom::Malformed("UPPER".to_owned()))
    );
    assert_eq!(mount("from=x"), None);
    let bad = parse("/v2/a/blobs/uploads/?digest-algorithm=SHA256");
    assert!(matches!(bad, Err(EndpointError::Digest(_))));
}

#[test]
fn plus_signs_stand_for_themselves() {
    let d = digest();
    for target in [
        format!("/v2/a/referrers/{d}?artifactType=application/x+json&artifactType=b"),
        format!("/v2/a/referrers/{d}?artifactType=application%2Fx%2Bjson&artifactType=b"),
    ] {
        let Ok(Endpoint::Referrers { artifact_types, .. }) = parse(&target) else {
            panic!()
        };
        assert_eq!(artifact_types, ["application/x+json", "b"]);
    }
}

fn any_repository() -> impl Strategy<Value = RepositoryName> {
    let word =
        "blobs|uploads|manifests|tags|list|referrers|v2|ext|[a-z0-9]{1,8}([._-][a-z0-9]{1,3})?";
    proptest::collection::vec(word, 1..5).prop_map(|parts| parts.join("/").parse().unwrap())
}

fn any_digest() -> impl Strategy<Value = Digest> {
    (any::<[u8; 4]>(), any::<bool>()).prop_map(|(content, wide)| {
        Digest::of(
            if wide {
                Algorithm::Sha512
            } else {
                Algorithm::Sha256
            },
            &content,
        )
    })
}

fn any_tag() -> impl Strategy<Value = Tag> {
    "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}".prop_map(|tag| tag.parse().unwrap())
}

fn any_page() -> impl Strategy<Value = PageQuery> {
    let last = proptest::option::of(".{1,20}");
    (any::<Option<usize>>(), last).prop_map(|(n, last)| PageQuery { n, last })
}

fn any_start() -> impl Strategy<Value = UploadStart> {
    let from = prop_oneof![
        Just(MountFrom::Anywhere),
        any_repository().prop_map(MountFrom::Repository),
        // Upper case is in no name.
        ".{0,10}[A-Z]".prop_map(MountFrom::Malformed),
    ];
    let mount = (any_digest(), from).prop_map(|(digest, from)| Mount { digest, from });
    let algorithm = proptest::sample::select(vec![Algorithm::Sha256, Algorithm::Sha512]);
    (
        proptest::option::of(mount),
        proptest::option::of(any_digest()),
        proptest::option::of(algorithm),
    )
        .prop_map(|(mount, digest, algorithm)| UploadStart {
            mount,
            digest,
            algorithm,
        })
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let reference = prop_oneof![
        any_tag().prop_map(Reference::Tag),
        any_digest().prop_map(Reference::Digest)
    ];
    let tags = proptest::collection::btree_set(any_tag(), 0..4);
    prop_oneof![
        Just(Endpoint::Base),
        any_page().prop_map(|page| Endpoint::Catalog { page }),
        proptest::option::of(any_repository())
            .prop_map(|repository| Endpoint::Extensions { repository }),
        (any_repository(), any_digest())
            .prop_map(|(repository, digest)| Endpoint::Blob { repository, digest }),
        (any_repository(), reference, tags).prop_map(|(repository, reference, tags)| {
            Endpoint::Manifest {
                repository,
                reference,
                tags: tags.into_iter().collect(),
            }
        }),
        (
            any_repository(),
            any_digest(),
            proptest::collection::vec(".{1,20}", 0..3),
            proptest::option::of(".{1,20}")
        )
            .prop_map(
                |(repository, subject, artifact_types, last)| Endpoint::Referrers {
                    repository,
                    subject,
                    artifact_types,
                    last,
                }
            ),
        (any_repository(), any_page())
            .prop_map(|(repository, page)| Endpoint::Tags { repository, page }),
        (
            any_repository(),
            any::<[u8; 16]>(),
            any::<Option<u64>>(),
            proptest::option::of(any_digest())
        )
            .prop_map(|(repository, id, state, digest)| Endpoint::Upload {
                repository,
                id: UploadId::from_random(id),
                state,
                digest,
            }),
        (any_repository(), any_start())
            .prop_map(|(repository, start)| Endpoint::Uploads { repository, start }),
    ]
}

proptest! {
    #[test]
    fn formatting_and_parsing_are_inverse(endpoint in any_endpoint()) {
        let target = endpoint.to_string();
        prop_assert!(target.parse::<http::Uri>().is_ok(), "{}", target);
        prop_assert_eq!(parse(&target), Ok(endpoint), "{}", target);
    }

    #[test]
    fn any_target_is_parsed_or_refused(
        path in "(/v2)?(/(blobs|uploads|manifests|tags|list|referrers|_catalog|_oci|\\.\\.|%2[fF]|[^/?]{0,9})){0,7}",
        query in "([a-zA-Z_-]{0,9}=?[^&]{0,9}&?){0,4}",
    ) {
        if let Ok(endpoint) = Endpoint::parse(&path, Some(&query)) {
            prop_assert_eq!(parse(&endpoint.to_string()), Ok(endpoint));
        }
    }

    #[test]
    fn a_name_never_holds_what_the_grammar_forbids(path in "/v2/.{0,40}/manifests/x") {
        if let Ok(Endpoint::Manifest { repository, .. }) = Endpoint::parse(&path, None) {
            prop_assert!(repository.components().all(|part| !part.is_empty() && !part.starts_with('.')));
        }
    }
}
