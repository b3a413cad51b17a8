//! Programs that embed the registry, to copy from. Each is run by a test in `tests/`.
//!
//! | program | shows |
//! |---|---|
//! | `src/bin/axum_app.rs` | an axum app with users and routes of its own |
//! | `src/bin/plain_hyper.rs` | hyper without a framework, HTTP/1.1 and HTTP/2 |
//! | `src/bin/tonic_port.rs` | the port of a gRPC server, among tower layers |
//! | `src/third_party_backend.rs` | a storage backend over a database nobody here knew |
//! | `src/bin/third_party_backend.rs` | a durable registry on that backend |
//! | `src/bin/list_tags.rs` | a client program whose tests need a registry |
//! | `tests/test_fixture.rs` | those tests: a registry in one line |
//! | `tests/examples/host_layers.rs` | which layers of a host break pushes, and what to do |

pub mod third_party_backend;
